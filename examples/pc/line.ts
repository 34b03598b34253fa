/** A wire: called with its level, as often as its driver likes. */
export type Line = (level: boolean) => void;

/** A line that several devices may pull up at once: its level is the OR of theirs. */
export class SharedLine {
  readonly #target: Line;
  #active = 0;

  constructor(target: Line) {
    this.#target = target;
  }

  /** One more input. */
  input(): Line {
    let last = false;
    return (level) => {
      if (level === last) return;
      last = level;
      this.#active += level ? 1 : -1;
      this.#target(this.#active > 0);
    };
  }
}
