// The list of messages: bubbles, notices, days, and the art of staying at the bottom.
//
// Everything that people wrote gets into the page as text, never as HTML.

const LONGEST_LIST = 500; // elements; older ones leave at the top
const PAUSE = 5 * 60_000; // ms; after it the author is named again
const NEAR_BOTTOM = 48; // px
const COLOURS = 8; // as many as chat.css has

const clock = new Intl.DateTimeFormat([], { hour: "numeric", minute: "2-digit" });
const colours = new Map(); // by name, of everybody seen
const onlyEmoji = /^(?:\p{Extended_Pictographic}|\p{RI}|\p{EMod}|\u200d|\ufe0f|\s){1,16}$/u;
const calendar = new Intl.DateTimeFormat([], { weekday: "long", day: "numeric", month: "long" });

/** Make an element: `element("p", "text", "Hi", anotherElement)`. Strings become text nodes. */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** A name, protected from what right-to-left letters would do to the words around it. */
export function nameElement(name) {
  return element("bdi", "name", name);
}

/** The first letter (or emoji) of a name on the colour that goes with it. */
export function avatar(name) {
  const [first] = name;
  const made = element("span", "avatar", first.toUpperCase());
  made.dataset.colour = colourOf(name);
  made.setAttribute("aria-hidden", "true");
  return made;
}

/** Mostly the same colour for the same name on every page, but two for two while there are some. */
function colourOf(name) {
  if (!colours.has(name)) {
    let hash = 0x811c9dc5; // FNV-1a, whose low bits alone would not do
    for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
    let colour = ((hash ^ (hash >>> 15)) >>> 0) % COLOURS;
    const taken = new Set(colours.values());
    while (taken.size < COLOURS && taken.has(colour)) colour = (colour + 3) % COLOURS;
    colours.set(name, colour);
  }
  return colours.get(name);
}

export class MessageLog {
  #scroller = document.getElementById("log");
  #list = document.getElementById("messages");
  #empty = document.getElementById("empty");
  #news = document.getElementById("news");
  #newsText = document.getElementById("news-text");
  #atBottom = true;
  #unseen = 0;
  #last = null; // the last message said: {member, time}
  #day = "";

  constructor() {
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#news.addEventListener("click", () => {
      this.toBottom();
      this.#scroller.focus();
    });
    // The keyboard of a phone appears, the window shrinks: what was at the bottom stays there.
    new ResizeObserver(() => this.#atBottom && this.toBottom()).observe(this.#scroller);
  }

  /** Run `change` without a screen reader reading all of it aloud: history is not news. */
  quietly(change) {
    this.#scroller.setAttribute("aria-live", "off");
    change();
    setTimeout(() => this.#scroller.setAttribute("aria-live", "polite"), 500);
  }

  /** Append a message and return its element. */
  say(message, mine) {
    this.#announceDay(message.time);
    const text = element("p", "text", ...withLinks(message.text));
    const author = element("p", "author", mine ? "You" : nameElement(message.member.name));
    text.classList.toggle("emoji", onlyEmoji.test(message.text));
    const line = element("div", "line", text, timeElement(message.time));
    const bubble = element("div", "bubble", author, line);
    const item = element("li", mine ? "said mine" : "said", bubble);
    if (!mine) {
      const picture = avatar(message.member.name);
      author.dataset.colour = picture.dataset.colour;
      item.prepend(picture);
    }
    item.classList.toggle("continued", this.#continues(message));
    this.#last = message;
    this.#append(item, mine);
    if (!mine && !this.#atBottom) this.#showNews(this.#unseen + 1);
    return item;
  }

  /** Append a message of ours that the server has not confirmed yet. */
  pend(message) {
    const item = this.say(message, true);
    item.classList.add("pending");
    item.querySelector(".when").replaceWith(element("span", "when", "on its way"));
    return item;
  }

  /** A pending message has arrived, and has its place in the order of the room now. */
  settle(item, message) {
    let next = item.nextElementSibling;
    while (next?.classList.contains("pending")) next = next.nextElementSibling;
    if (next) {
      item.remove(); // others were faster
      this.say(message, true);
    } else {
      item.classList.remove("pending");
      item.querySelector(".when").replaceWith(timeElement(message.time));
    }
  }

  /** A pending message was refused. */
  fail(item, reason) {
    item.classList.replace("pending", "failed");
    item.querySelector(".when").remove();
    item.querySelector(".bubble").append(element("p", "error", `Not sent: ${reason}`));
  }

  /** Append a line that nobody said: "Ada joined". */
  notice(...content) {
    this.#announceDay(Date.now());
    this.#last = null;
    this.#append(element("li", "notice", element("p", "", ...content)), false);
  }

  get hasMessages() {
    return this.#list.querySelector(".said") !== null;
  }

  clear() {
    this.#list.replaceChildren();
    this.#last = null;
    this.#day = "";
    this.showEmpty(false);
    this.toBottom();
  }

  showEmpty(show) {
    this.#empty.hidden = !show;
  }

  toBottom() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#atBottom = true;
    this.#showNews(0);
  }

  #append(item, follow) {
    this.#scrolled(); // that event may be under way still
    this.#list.append(item);
    while (this.#list.childElementCount > LONGEST_LIST) this.#list.firstElementChild.remove();
    if (follow || this.#atBottom) this.toBottom();
  }

  #continues({ member, time }) {
    return this.#last?.member.id === member.id && time - this.#last.time < PAUSE;
  }

  #announceDay(time) {
    const day = calendar.format(time);
    if (day === this.#day) return;
    this.#day = day;
    this.#last = null;
    const today = day === calendar.format(Date.now());
    this.#append(element("li", "day", element("p", "", today ? "Today" : day)), false);
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#atBottom = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM;
    if (this.#atBottom) this.#showNews(0);
  }

  #showNews(count) {
    this.#unseen = count;
    this.#news.hidden = count === 0;
    this.#newsText.textContent = count === 1 ? "1 new message" : `${count} new messages`;
  }
}

function timeElement(time) {
  const made = element("time", "when", clock.format(time));
  made.dateTime = new Date(time).toISOString();
  return made;
}

/** Split a text into strings and links. Only http and https: a link must not run anything. */
function withLinks(text) {
  return text.split(/(https?:\/\/[^\s<>"]*[^\s<>".,:;!?')\]])/).map((part, index) => {
    if (index % 2 === 0) return part;
    const link = element("a", "", part);
    link.href = part;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    return link;
  });
}
