// A mapped comm page, and the reference that its later contents are compared with.
import { getField, setField } from './abi.js';
import { matches, type Value } from './compare.js';
import type { RawModule } from './native.js';
import {
  getHeader,
  headerFields,
  registerNamed,
  registers,
  setHeader,
  usedSize,
  type HeaderField,
  type Register,
} from './registers.js';
import type { Expectation, Expected } from './types.js';

/** Called for each field that is not as expected. */
export type Report = (field: string, expected: Expected | Value, got: Value | undefined) => void;

export class CommPage {
  readonly address: bigint;
  readonly #raw: RawModule;
  readonly #reference = new Uint8Array(usedSize);

  constructor(raw: RawModule, address: bigint) {
    this.#raw = raw;
    this.address = address;
    raw.load(address, this.#reference); // leaves zeros if the page was mapped without access
  }

  /** The same page, with a reference of its own that is the same so far. */
  copy(): CommPage {
    const copy = new CommPage(this.#raw, this.address);
    copy.#reference.set(this.#reference);
    return copy;
  }

  contents(): Uint8Array {
    const bytes = new Uint8Array(usedSize);
    if (this.#raw.load(this.address, bytes)) throw new Error('the comm page cannot be read');
    return bytes;
  }

  /** Changes the page as the client of the driver does, and the reference with it. */
  edit(change: (bytes: Uint8Array) => void): void {
    const bytes = this.contents();
    change(bytes);
    if (this.#raw.store(this.address, bytes)) throw new Error('the comm page cannot be written');
    change(this.#reference);
  }

  setRegisters(values: Record<string, bigint>): void {
    this.edit((bytes) => {
      for (const [name, value] of Object.entries(values)) setField(bytes, registerNamed(name).field, value);
    });
  }

  setHeader(name: HeaderField, value: bigint): void {
    this.edit((bytes) => {
      setHeader(bytes, name, value);
    });
  }

  /** Adds to a set of pieces in the header. */
  orHeader(name: HeaderField, value: bigint): void {
    if (value !== 0n) this.setHeader(name, getHeader(this.contents(), name) | value);
  }

  getHeader(name: HeaderField): bigint {
    return getHeader(this.contents(), name);
  }

  /** Compares a step's comm, changed and regs, and takes over what the page holds now. */
  check({ comm, changed, regs }: Expectation, report: Report): void {
    const bytes = this.contents();
    if (typeof comm === 'object') {
      for (const name of headerFields) {
        const expected = comm[name] ?? 0;
        const got = getHeader(bytes, name);
        if (!matches(expected, got)) report(`comm.${name}`, expected, got);
      }
    }

    const cached = getHeader(bytes, 'state_cached');
    const isValid = ({ piece }: Register) => piece === null || (cached & piece) !== 0n;
    // Where the header may be anything and no registers are named, these may be anything too.
    const anything = changed === '*' || (comm === '*' && changed === undefined);
    for (const [name, register] of registers) {
      if (!isValid(register)) continue;
      const got = getField(bytes, register.field);
      const named = typeof changed === 'object' ? changed[name] : undefined;
      const expected = named ?? getField(this.#reference, register.field);
      const asExpected = typeof expected === 'bigint' ? expected === got : matches(expected, got);
      if (!anything && (register.compared || named !== undefined) && !asExpected) {
        report(`${named === undefined ? 'unchanged' : 'changed'}.${name}`, expected, got);
      }
      setField(this.#reference, register.field, got);
    }
    for (const name of Object.keys(typeof changed === 'object' ? changed : {})) registerNamed(name);

    for (const [name, expected] of Object.entries(regs ?? {})) {
      const got = getField(bytes, registerNamed(name).field);
      if (!matches(expected, got)) report(`regs.${name}`, expected, got);
    }
  }
}
