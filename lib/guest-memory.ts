// Guest-physical memory as arrays: what of a machine's areas this process has looked at.
import { constants } from 'node:buffer';
import type { Area } from './machine.js';

/** Guest-physical pages that one array reaches: those of an area, or of a part of a large one. */
export interface Window {
  /** The first page's number. */
  readonly page: number;
  readonly pages: number;
  /** `Prot` bits of the area. */
  readonly prot: number;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
}

// 1 GiB: indices of bytes and words stay small integers.
const WINDOW_PAGES = 2 ** 18;

const NOWHERE: Window = { page: 0, pages: 0, prot: 0, bytes: new Uint8Array(0), words: new Int32Array(0) };

/** Finds the memory behind guest-physical page numbers (below 2^31, as the driver allows no more), without a system call. */
export class GuestMemory {
  readonly #areas: () => readonly Area[];
  readonly #status: Uint32Array;
  #windows: Window[] = [];
  #seen = -1; // the generation that the windows are of
  #last = NOWHERE;

  /** `status`: the native machine's, whose first word changes with the areas, on whichever thread that happens. */
  constructor(areas: () => readonly Area[], status: Uint32Array) {
    this.#areas = areas;
    this.#status = status;
  }

  /** Another one after each change of the areas: what was found before is not true any more. */
  get generation(): number {
    return this.#status[0]!;
  }

  /** The window that holds a page; undefined where the guest has no memory. */
  find(page: number): Window | undefined {
    const last = this.#last;
    const ahead = page - last.page;
    return ahead >= 0 && ahead < last.pages && this.#status[0] === this.#seen ? last : this.#search(page);
  }

  #search(page: number): Window | undefined {
    if (this.#seen !== this.generation) {
      this.#seen = this.generation; // before the areas are looked at, which may be newer
      this.#windows = [];
      this.#last = NOWHERE;
    }
    const holds = (from: number, pages: number): boolean => page >= from && page < from + pages;
    let window = this.#windows.find((candidate) => holds(candidate.page, candidate.pages));
    if (window === undefined) {
      const area = this.#areas().find((candidate) => holds(candidate.gpa / 4096, candidate.size / 4096));
      if (area === undefined) return undefined;
      window = openWindow(area, page);
      this.#windows.push(window);
    }
    return (this.#last = window);
  }
}

function openWindow({ memory, offset, gpa, size, prot }: Area, page: number): Window {
  const skipped = Math.floor((page - gpa / 4096) / WINDOW_PAGES) * WINDOW_PAGES;
  const pages = Math.min(WINDOW_PAGES, size / 4096 - skipped);
  const begin = offset + skipped * 4096;
  const bytes =
    memory.size <= constants.MAX_LENGTH
      ? memory.bytes.subarray(begin, begin + pages * 4096)
      : memory.view(begin, pages * 4096);
  const words = new Int32Array(bytes.buffer, bytes.byteOffset, pages * 1024);
  return { page: gpa / 4096 + skipped, pages, prot, bytes, words };
}
