// Disks: raw image files, or bytes in memory.
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';

/** Bytes of a sector. */
export const SECTOR = 512;

/** A disk as its controllers see it. Whole sectors; what fails throws. */
export interface Disk {
  /** How many sectors it has. */
  readonly sectors: number;
  readonly readOnly: boolean;
  read(lba: number, target: Uint8Array): void;
  write(lba: number, source: Uint8Array): void;
  flush(): void;
}

/**
 * A raw image file. Reads and writes are synchronous: they come from the host's cache as a rule, and the guest waits for
 * them in any case.
 */
export class FileDisk implements Disk, Disposable {
  readonly sectors: number;
  readonly readOnly: boolean;
  readonly #file: number;

  /** @throws Error if the file can't be opened, or is shorter than a sector. */
  constructor(path: string, readOnly = false) {
    this.#file = openSync(path, readOnly ? 'r' : 'r+');
    this.readOnly = readOnly;
    const status = fstatSync(this.#file);
    this.sectors = Math.floor(status.size / SECTOR);
    if (!status.isFile() || this.sectors === 0) {
      closeSync(this.#file);
      throw new Error(`${path} is no disk image: it must be a file of at least ${SECTOR} bytes.`);
    }
  }

  read(lba: number, target: Uint8Array): void {
    for (let done = 0; done < target.length;) {
      const count = readSync(this.#file, target, done, target.length - done, lba * SECTOR + done);
      if (count === 0) throw new Error('The image file has become shorter.');
      done += count;
    }
  }

  write(lba: number, source: Uint8Array): void {
    if (this.readOnly) throw new Error('The disk is read-only.');
    for (let done = 0; done < source.length;) {
      done += writeSync(this.#file, source, done, source.length - done, lba * SECTOR + done);
    }
  }

  flush(): void {
    if (!this.readOnly) fsyncSync(this.#file);
  }

  [Symbol.dispose](): void {
    closeSync(this.#file);
  }
}

/** A disk in memory: for tests, and for what a loader makes up. */
export class MemoryDisk implements Disk {
  readonly readOnly = false;
  readonly #bytes: Uint8Array;

  /** @param bytes the content, of which only whole sectors count. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get sectors(): number {
    return Math.floor(this.#bytes.length / SECTOR);
  }

  read(lba: number, target: Uint8Array): void {
    target.set(this.#bytes.subarray(lba * SECTOR, lba * SECTOR + target.length));
  }

  write(lba: number, source: Uint8Array): void {
    this.#bytes.set(source, lba * SECTOR);
  }

  flush(): void {
    // Nothing is kept back.
  }
}
