// Asks with OpenAI's own client what each line of standard input says, and writes a line of what came of it.

import OpenAI from "openai";
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await asked(JSON.parse(line))));
}

/** `client` are options of the client, `method` is a path such as `chat.completions.create`, `args` are its arguments;
 *  after `leave` pieces of a stream its reader leaves. */
async function asked({ client, method, args, leave }) {
  const told = { tries: 0, pieces: [] };
  const counting = (...request) => (told.tries++, fetch(...request));
  const names = method.split(".");
  const last = names.pop();
  const owner = names.reduce((object, name) => object[name], new OpenAI({ ...client, fetch: counting }));
  try {
    const answer = await owner[last](...args);
    if (answer[Symbol.asyncIterator] === undefined) return { ...told, answer };
    for await (const piece of answer) {
      told.pieces.push(piece);
      if (told.pieces.length === leave) break;
    }
  } catch (error) {
    const { status, code, param, type, message } = error;
    told.error = { name: error.constructor.name, status, code, param, type, message };
  }
  return told;
}
