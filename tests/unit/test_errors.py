"""The error tree."""

from enginehouse import errors


def test_public_names_are_the_whole_tree():
    tree = {
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert tree == set(errors.__all__)


def test_model_not_found_names_near_matches():
    error = errors.ModelNotFound("smolm2", ["smollm2"])
    assert "smolm2" in error.message
    assert "Did you mean 'smollm2'?" in error.message
    assert error.code == "model_not_found"
