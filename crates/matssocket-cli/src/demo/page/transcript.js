// What the page shows, kept in localStorage: it survives reloads, and all tabs of a user show the same.
// Each record has an item of its own, so that no tab overwrites what another one writes.

/** Records that are kept; older ones go. */
const KEPT = 500;

/** An EventTarget with the event "change", whose detail is the record. */
export class Transcript extends EventTarget {
  #prefix;
  #records = new Map();

  constructor(user) {
    super();
    this.#prefix = `matssocket-demo/${user}/`;
    for (const key of Object.keys(localStorage)) {
      if (key.startsWith(this.#prefix)) this.#read(key, localStorage.getItem(key));
    }
    addEventListener("storage", this.#changedElsewhere);
  }

  /** All records, oldest first. */
  get all() {
    return [...this.#records.values()].sort((a, b) => a.at - b.at);
  }

  get(id) { return this.#records.get(id); }

  /** Adds a record, or changes some of its fields. */
  put(id, fields) {
    const record = { at: Date.now(), ...this.#records.get(id), ...fields, id };
    this.#records.set(id, record);
    try {
      localStorage.setItem(this.#prefix + id, JSON.stringify(record));
    } catch { /* the storage is full: this tab shows it all the same */ }
    this.#tell(record);
    if (this.#records.size > KEPT + 100) this.#forgetOldest();
  }

  /** Changes fields that are not set yet: of several tabs that see the same, the first one says when it was. */
  putOnce(id, fields) {
    const record = this.#records.get(id);
    const fresh = Object.entries(fields).filter(([key]) => record?.[key] === undefined);
    if (record && fresh.length) this.put(id, Object.fromEntries(fresh));
  }

  clear() {
    for (const id of this.#records.keys()) localStorage.removeItem(this.#prefix + id);
    this.#records.clear();
  }

  /** Nobody shows it any more. */
  close() { removeEventListener("storage", this.#changedElsewhere); }

  #changedElsewhere = ({ key, newValue }) => {
    if (!key?.startsWith(this.#prefix) || newValue === null) return;
    const record = this.#read(key, newValue);
    if (record) this.#tell(record);
  };

  #read(key, text) {
    try {
      const record = JSON.parse(text);
      this.#records.set(record.id, record);
      return record;
    } catch {
      localStorage.removeItem(key);
      return undefined;
    }
  }

  #tell(record) { this.dispatchEvent(new CustomEvent("change", { detail: record })); }

  #forgetOldest() {
    for (const { id } of this.all.slice(0, -KEPT)) {
      this.#records.delete(id);
      localStorage.removeItem(this.#prefix + id);
    }
  }
}
