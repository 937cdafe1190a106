/** Answers kept as files. */

import { h } from "./dom.js";

/** Let the browser save an answer's body. */
export async function download(answer, name) {
  const address = URL.createObjectURL(await answer.blob());
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
