// The chat: what comes from the server goes onto the page, what is typed goes to the server.
// The protocol is described in ../server.py.

import { LastingSocket } from "./reconnect.js";
import { MessageLog, avatar, element, nameElement } from "./log.js";
import { memory } from "./memory.js";

const TITLE = document.title;
const TYPING_LASTS = 4000; // ms
const TYPING_EVERY = 2000; // ms
const $ = (id) => document.getElementById(id);

const url = new URL("chat", location.href);
url.protocol = url.protocol.replace("http", "ws");
const socket = new LastingSocket(url);
const log = new MessageLog();
const visit = memory("sessionStorage"); // of this tab
const browser = memory("localStorage");

let me = null; // {id, name} while we are in the room
let members = new Map(); // by id
let limit = 1000; // characters in a message
let lastId = 0; // of the newest message shown
let welcomed = false; // at least once since we entered
let unread = 0; // since the page was last looked at
const pending = new Map(); // ref -> {text, item}: said by us, not confirmed by the server
const typing = new Map(); // member id -> {name, timer}
const former = new Set(visit.get("former").split(" ").map(Number)); // ids that were or are ours

// ---- from the server

const receive = {
  welcome({ you, members: present, history, limits }) {
    me = you;
    former.add(me.id);
    visit.set("former", [...former].slice(-20).join(" "));
    members = new Map(present.map((member) => [member.id, member]));
    limit = limits.text;
    log.quietly(() => history.filter(({ id }) => id > lastId).forEach(receive.said));
    if (welcomed) log.notice("You are connected again");
    welcomed = true;
    for (const [ref, { text }] of pending) send({ type: "say", text, ref });
    log.showEmpty(!log.hasMessages);
    showState();
    showPeople();
    showCount();
  },

  joined({ member }) {
    members.set(member.id, member);
    log.notice(nameElement(member.name), " joined");
    showPeople();
  },

  left({ member }) {
    members.delete(member.id);
    stopTyping(member.id);
    log.notice(nameElement(member.name), " left");
    showPeople();
  },

  said(message) {
    lastId = message.id;
    stopTyping(message.member.id);
    const mine = former.has(message.member.id);
    if (mine && pending.has(message.ref)) {
      log.settle(pending.get(message.ref).item, message);
      pending.delete(message.ref);
      return;
    }
    log.showEmpty(false);
    log.say(message, mine);
    if (!mine && document.hidden) showUnread(unread + 1);
  },

  typing({ member }) {
    clearTimeout(typing.get(member.id)?.timer);
    const timer = setTimeout(() => stopTyping(member.id), TYPING_LASTS);
    typing.set(member.id, { name: member.name, timer });
    showTyping();
  },

  error({ code, detail, ref }) {
    if (pending.has(ref)) {
      log.fail(pending.get(ref).item, detail);
      pending.delete(ref);
    } else if (me) {
      log.notice(`That did not work: ${detail}`);
    } else {
      leave();
      $("name").setCustomValidity(detail);
      $("name").reportValidity();
    }
    console.warn("refused:", code, detail);
  },
};

socket.addEventListener("message", ({ data }) => {
  const message = JSON.parse(data);
  if (me || message.type === "welcome" || message.type === "error") receive[message.type]?.(message);
});

socket.addEventListener("state", () => {
  me = null; // whoever comes back is a new member
  if (socket.state === "online") send({ type: "join", name: browser.get("name") });
  if (socket.state === "offline") [...typing.keys()].forEach(stopTyping);
  showState();
});

function send(message) {
  return socket.send(JSON.stringify(message));
}

// ---- the entrance

function enter(name) {
  browser.set("name", name);
  visit.set("inside", "yes");
  $("entrance").hidden = true;
  $("room").hidden = false;
  log.toBottom();
  socket.open();
}

function leave() {
  socket.close();
  visit.set("inside", "");
  [...typing.keys()].forEach(stopTyping);
  pending.clear();
  lastId = 0;
  welcomed = false;
  log.clear();
  $("room").hidden = true;
  $("entrance").hidden = false;
  $("name").focus();
}

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  enter($("name").value.trim());
  $("text").focus();
});
$("name").addEventListener("input", () => {
  const blank = $("name").value.trim() === "";
  $("name").setCustomValidity(blank ? "A name needs a character that can be seen." : "");
});
$("leave").addEventListener("click", leave);

// ---- saying something

let typingToldAt = 0;
const text = $("text");

function say() {
  const said = text.value.trim();
  if (said === "" || tooLong() > 0) return;
  const ref = [...crypto.getRandomValues(new Uint32Array(2))].map((n) => n.toString(36)).join("");
  const member = me ?? { id: Math.max(0, ...former) };
  log.showEmpty(false);
  pending.set(ref, { text: said, item: log.pend({ member, text: said, time: Date.now() }) });
  if (me) send({ type: "say", text: said, ref }); // else it goes out with the next welcome
  text.value = "";
  typingToldAt = 0;
  drafted();
}

function drafted() {
  visit.set("draft", text.value);
  text.style.height = "auto"; // then as high as what is in it; chat.css has the maximum
  text.style.height = `${text.scrollHeight}px`;
  showCount();
}

function tooLong() {
  return [...text.value.trim()].length - limit; // code points, as the server counts
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  say();
  text.focus();
});

text.addEventListener("keydown", (event) => {
  // An input method uses Enter to choose a word; Shift+Enter is a new line.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  say();
});

text.addEventListener("input", () => {
  drafted();
  if (!me || text.value.trim() === "" || Date.now() - typingToldAt < TYPING_EVERY) return;
  typingToldAt = Date.now();
  send({ type: "typing" });
});

// ---- what is shown around the messages

function showPeople() {
  const others = [...members.values()].filter(({ id }) => id !== me.id);
  others.sort((one, other) => one.name.localeCompare(other.name));
  $("people-list").replaceChildren(...[me, ...others].map(({ id, name }) => {
    const item = element("li", "person", avatar(name), nameElement(name));
    if (id === me.id) item.append(element("span", "you", "you"));
    return item;
  }));
  $("people-count").textContent = members.size;
  $("people-button-count").textContent = members.size;
}

function showTyping() {
  const names = [...typing.values()].map(({ name }) => name);
  const shown = names.length > 2 ? [`${names.length} people`] : names;
  $("typing").replaceChildren(
    ...shown.flatMap((name, index) => (index ? [" and ", nameElement(name)] : [nameElement(name)])),
    names.length === 0 ? "" : names.length === 1 ? " is typing" : " are typing",
  );
}

function stopTyping(id) {
  clearTimeout(typing.get(id)?.timer);
  if (typing.delete(id)) showTyping();
}

function showCount() {
  const left = -tooLong();
  const near = left <= limit / 10;
  $("room-left").textContent = !near ? "" : left < 0 ? `${-left} too many` : `${left} left`;
  $("room-left").classList.toggle("over", left < 0);
  text.setAttribute("aria-invalid", String(left < 0));
}

function showUnread(count) {
  unread = count;
  document.title = count ? `(${count}) ${TITLE}` : TITLE;
}

const stateNames = { closed: "", connecting: "Connecting", online: "Online", offline: "Offline" };
let countdown = 0;

function showState() {
  const state = socket.state === "online" && !me ? "connecting" : socket.state; // until welcome
  $("state").dataset.state = state;
  $("state").textContent = stateNames[state];
  $("outage").hidden = socket.state !== "offline";
  $("people-word").textContent = me ? "Here now" : "Last seen here";
  clearInterval(countdown);
  if (socket.state === "offline") {
    countdown = setInterval(showCountdown, 250);
    showCountdown();
  }
}

function showCountdown() {
  const seconds = Math.max(1, Math.ceil((socket.retryAt - Date.now()) / 1000));
  $("outage-wait").textContent = `Next try in ${seconds} s.`;
}

$("outage-retry").addEventListener("click", () => {
  socket.retry();
  text.focus(); // the button goes away
});
document.addEventListener("visibilitychange", () => document.hidden || showUnread(0));

// ---- begin

$("name").value = browser.get("name");
if (visit.get("inside") && $("name").value) {
  enter($("name").value);
  text.value = visit.get("draft");
  drafted();
} else {
  $("entrance").hidden = false;
  $("name").select();
}
