// A WebSocket that comes back by itself. It knows nothing of chats: take it along.
//
// After the n-th failure in a row it waits a random time between nothing and 2^n seconds, at most
// 30 s ("full jitter"): when a server restarts, its thousand pages do not all return in the same
// instant. Only a connection that has lasted for a while makes it forget its failures; a server
// that accepts and then throws everybody out is not a healthy one. When the device gets its
// network back, or somebody looks at the page again, it tries at once.

const SECOND = 1000;
const LONGEST_WAIT = 30 * SECOND;
const STABLE_AFTER = 10 * SECOND;
const PATIENCE = 10 * SECOND; // for one attempt to connect

/**
 * Dispatches "message" (a MessageEvent) and "state", upon which `state` is one of
 *
 *   closed --open()--> connecting --> online --> offline --> connecting ...
 *
 * and close() leads back to closed from everywhere. `retryAt` is the time (as in Date.now()) of
 * the next attempt while offline.
 */
export class LastingSocket extends EventTarget {
  state = "closed";
  retryAt = 0;
  #url;
  #socket = null;
  #failures = 0;
  #retryTimer = 0;

  constructor(url) {
    super();
    this.#url = url;
    window.addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.retry();
    });
  }

  open() {
    if (this.state === "closed") this.#connect();
  }

  /** Try now instead of later. Does nothing unless it is offline. */
  retry() {
    if (this.state === "offline") this.#connect();
  }

  /** Send a string and return true, or return false when it is not online. */
  send(text) {
    if (this.state !== "online" || this.#socket.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    return true;
  }

  close() {
    const socket = this.#socket;
    this.#socket = null; // what it still has to say is nobody's business
    this.#failures = 0;
    clearTimeout(this.#retryTimer);
    socket?.close(1000);
    this.#enter("closed");
  }

  #connect() {
    clearTimeout(this.#retryTimer);
    const socket = new WebSocket(this.#url);
    const patience = setTimeout(() => socket.close(), PATIENCE);
    let stable = 0;
    socket.onopen = () => {
      clearTimeout(patience);
      if (socket !== this.#socket) return;
      stable = setTimeout(() => (this.#failures = 0), STABLE_AFTER);
      this.#enter("online");
    };
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.dispatchEvent(new MessageEvent("message", { data }));
    };
    socket.onclose = () => {
      clearTimeout(patience);
      clearTimeout(stable);
      if (socket === this.#socket) this.#wait();
    };
    this.#socket = socket;
    this.#enter("connecting");
  }

  #wait() {
    const longest = Math.min(LONGEST_WAIT, SECOND * 2 ** this.#failures++);
    const delay = Math.random() * longest;
    this.retryAt = Date.now() + delay;
    this.#retryTimer = setTimeout(() => this.retry(), delay);
    this.#enter("offline");
  }

  #enter(state) {
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
