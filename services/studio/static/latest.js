// Latest wins: while one piece of work runs, only the newest request waits, and older ones are dropped.

/** Runs an asynchronous function on the newest value alone, one at a time. */
export class Latest {
  /**
   * @param {(value: any) => Promise<void>} work
   * @param {(error: Error) => void} onError
   */
  constructor(work, onError) {
    this.work = work;
    this.onError = onError;
    this.running = false;
    this.waiting = null;
  }

  request(value) {
    this.waiting = { value };
    if (!this.running) this.run();
  }

  drop() {
    this.waiting = null;
  }

  async run() {
    this.running = true;
    while (this.waiting) {
      const { value } = this.waiting;
      this.waiting = null;
      try {
        await this.work(value);
      } catch (error) {
        // What a later request has made obsolete is no news.
        if (error.code !== "superseded") this.onError(error);
      }
    }
    this.running = false;
  }
}

/** Calls a function once nothing was asked for a while. */
export function settled(work, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), milliseconds);
  };
}
