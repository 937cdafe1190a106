"""A certificate authority of the test's own, for servers of this process that speak TLS."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAMES = ("127.0.0.1", "localhost")


class Authority:
    """Signs certificates; nobody trusts it who was not told to.

    Args:
        name: what it calls itself.

    Attributes:
        pem: its own certificate, as it stands in a file.
    """

    def __init__(self, name):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        own = self._begun(self._name, self._key, timedelta(days=-1), timedelta(days=1))
        own = own.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def trust(self):
        """What a client has that trusts nobody else."""
        context = ssl.create_default_context(cadata=self.pem.decode())
        context.set_alpn_protocols(["http/1.1"])
        return context

    def serving(self, names=NAMES, *, begins=timedelta(days=-1), ends=timedelta(days=1)):
        """What a server of these names has; from when and until when its certificate holds, from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._begun(_named(names[0]), key, begins, ends)
        leaf = leaf.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
        held = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with TemporaryDirectory() as folder:
            chain = Path(folder, "chain.pem")
            chain.write_bytes(held + leaf.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
            context.load_cert_chain(chain)
        return context

    def _begun(self, name, key, begins, ends):
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=name,
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now + begins,
            not_valid_after=now + ends,
        )


@cache
def authority():
    """The one whom the tests trust."""
    return Authority("The tests' authority")


def _named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(name):
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
