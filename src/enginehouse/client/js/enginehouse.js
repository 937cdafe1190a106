// Conversations over one WebSocket, for browsers and for Node's own WebSocket; depends on nothing else.
//
//   import { Chat } from "./enginehouse.js";
//   const chat = new Chat("ws://localhost:8000/ws", { token });
//   const answer = chat.ask({ session_id: "abc-123", prompt: "What is Python?" });
//   for await (const token of answer) console.log(token);
//   console.log((await answer.end).usage);
//   chat.close();

const REFUSED = 1008; // by a rule of the service: to try again would not help

/** An answer that ended badly, or a socket that could not be had. A program may act on `code`. */
export class ChatError extends Error {
  constructor(code, message, data = {}) {
    super(message);
    this.name = "ChatError";
    this.code = code;
    this.data = data;
  }
}

/** One answer: an async iterable of tokens. `end` is what it told of itself: `stopped`, `text`, `usage` and more. */
export class Answer {
  #chat;
  #tokens = [];
  #taken = 0;
  #wake = () => {};
  #done = false;
  #error = null;

  constructor(chat, request_id, { index = 0, onqueued, question = null } = {}) {
    this.#chat = chat;
    this.request_id = request_id;
    /** Index of the token that comes next; after a lost socket the answer goes on from here. */
    this.index = index;
    /** Where it stands in the line, 0 while it does not. */
    this.position = 0;
    /** What `stream_start` told: session_id, message_id and model; null before it. */
    this.started = null;
    this.onqueued = onqueued;
    /** What is to be asked again if the service never heard of it, and whether it shall end; for `Chat`. */
    this.question = question;
    this.stopping = false;
    this.end = new Promise((resolve, reject) => {
      this.settle = { resolve, reject };
    });
    this.end.catch(() => {}); // who only iterates is told there
  }

  /** All of its words so far. */
  get text() {
    return this.#tokens.join("");
  }

  /** Have no more of it generated. What came is kept; `end` then says `stopped: true`. */
  stop() {
    this.stopping = true;
    this.#chat.say("stop_generation", { request_id: this.request_id });
    return this.end;
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      while (this.#taken < this.#tokens.length) yield this.#tokens[this.#taken++];
      if (this.#error) throw this.#error;
      if (this.#done) return;
      await new Promise((resolve) => (this.#wake = resolve));
    }
  }

  /** An event of the server's; for `Chat`. */
  hear(event, data) {
    if (event === "queued") {
      this.position = data.position;
      this.onqueued?.(data.position);
    } else if (event === "stream_start") {
      this.position = 0;
      this.started = data;
    } else if (event === "stream_token" && data.index === this.index) {
      this.index += 1;
      this.#tokens.push(data.token);
    } else if (event === "stream_end" || event === "stopped") {
      this.#done = true;
      this.settle.resolve({ ...data, text: this.text, stopped: event === "stopped" });
    } else if (event === "error") {
      this.fail(new ChatError(data.code, data.message, data));
    }
    this.#wake();
  }

  /** It will not go on; for `Chat`. */
  fail(error) {
    this.#error = error;
    this.settle.reject(error);
    this.#wake();
  }
}

/** One WebSocket with any number of answers. A socket that is lost is opened again, and its answers are read on. */
export class Chat {
  #socket = null;
  #answers = new Map();
  #waiting = [];
  #closed = false;
  #retries = 0;
  #timer = null;
  #address;
  #options;

  /**
   * @param url `ws://…/ws` or `wss://…/ws`
   * @param options `token`: an API key or a JWT. `retries` (5): how often a lost socket is opened again before its
   *   answers are given up. `pause` (250): milliseconds before the first time, then twice as long. `WebSocket`:
   *   another one than the platform's.
   */
  constructor(url, { token, retries = 5, pause = 250, WebSocket = globalThis.WebSocket } = {}) {
    const address = new URL(url);
    if (token) address.searchParams.set("token", token);
    this.#address = address.href;
    this.#options = { retries, pause, WebSocket };
    this.#open();
  }

  /** Ask in a session. `request_id` is made up when left out; `onqueued(position)` hears how the line moves. */
  ask({ request_id = crypto.randomUUID(), onqueued, ...question }) {
    const asked = { request_id, ...question };
    const answer = this.#follow(new Answer(this, request_id, { onqueued, question: asked }));
    this.say("stream_chat", asked);
    return answer;
  }

  /** Read an answer that another socket of the same caller began, from its token `index` on. */
  attach({ request_id, index = 0 }) {
    const answer = this.#follow(new Answer(this, request_id, { index }));
    this.say("attach", { request_id, index });
    return answer;
  }

  /** Close the socket. Answers that are not over go on for a while, to be read over another one. */
  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket.close(1000);
  }

  /** Send an event, as soon as there is a socket. */
  say(event, data) {
    const message = JSON.stringify({ event, data });
    if (this.#socket.readyState === 1) this.#socket.send(message);
    else this.#waiting.push(message);
    if (this.#socket.readyState === 3 && !this.#timer) this.#open();
  }

  #follow(answer) {
    this.#answers.set(answer.request_id, answer);
    return answer;
  }

  #open() {
    const socket = (this.#socket = new this.#options.WebSocket(this.#address));
    socket.onopen = () => {
      for (const message of this.#waiting.splice(0)) socket.send(message);
    };
    socket.onmessage = (message) => this.#hear(JSON.parse(message.data));
    socket.onclose = (event) => this.#lost(event);
  }

  #hear({ event, data }) {
    this.#retries = 0;
    const answer = this.#answers.get(data?.request_id);
    if (!answer) return;
    const unknown = event === "error" && data.code === "not_found" && data.param === "request_id";
    if (unknown && answer.question && !answer.stopping) {
      this.say("stream_chat", answer.question); // it was lost with the last socket
      return;
    }
    answer.question = null;
    if (["stream_end", "stopped", "error"].includes(event)) this.#answers.delete(data.request_id);
    answer.hear(event, data);
  }

  #lost({ code, reason }) {
    const why = new ChatError("socket_closed", `The socket was closed (${code} ${reason}).`, { code, reason });
    const { retries, pause } = this.#options;
    if (this.#closed || code === REFUSED || this.#retries >= retries) {
      for (const answer of this.#answers.values()) answer.fail(why);
      this.#answers.clear();
      this.#waiting = [];
    } else if (this.#answers.size > 0) {
      this.#timer = setTimeout(() => this.#again(), pause * 2 ** this.#retries++);
    }
  }

  #again() {
    this.#timer = null;
    const said = this.#waiting.splice(0).filter((message) => JSON.parse(message).event !== "stop_generation");
    const unasked = new Set(said.map((message) => JSON.parse(message).data.request_id));
    const again = (event, data) => this.#waiting.push(JSON.stringify({ event, data }));
    for (const { request_id, index, stopping } of this.#answers.values()) {
      if (!unasked.has(request_id)) again("attach", { request_id, index });
      if (stopping) again("stop_generation", { request_id });
    }
    this.#waiting.unshift(...said);
    this.#open();
  }
}
