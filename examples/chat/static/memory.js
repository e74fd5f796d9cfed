// What the browser remembers for us: like a Map of strings, and content to be told to forget.
//
// A browser may refuse storage altogether; even to name it raises then.

export function memory(kind) {
  const use = (action) => {
    try {
      return action(window[kind]);
    } catch {
      return null; // the next visit begins with an empty form, nothing worse
    }
  };
  return {
    get: (key) => use((storage) => storage.getItem(key)) ?? "",
    set: (key, value) => use((storage) => storage.setItem(key, value)),
  };
}
