// Files that guests are loaded from: every field that is read is checked to be there.

/** A file is not what it should be, or does not fit: the message is for the user. */
export class ImageError extends Error {
  override readonly name = 'ImageError';
}

export class Image {
  /** What error messages call it. */
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly #view: DataView;

  constructor(name: string, bytes: Uint8Array) {
    this.name = name;
    this.bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  error(problem: string): ImageError {
    return new ImageError(`${this.name}: ${problem}`);
  }

  #check(offset: number, length: number, what: string): void {
    if (!Number.isSafeInteger(offset) || offset < 0 || length < 0 || offset + length > this.bytes.length) {
      throw this.error(`the file is too short: it ends within ${what}.`);
    }
  }

  u8(offset: number, what = 'its header'): number {
    this.#check(offset, 1, what);
    return this.#view.getUint8(offset);
  }

  u16(offset: number, what = 'its header'): number {
    this.#check(offset, 2, what);
    return this.#view.getUint16(offset, true);
  }

  u32(offset: number, what = 'its header'): number {
    this.#check(offset, 4, what);
    return this.#view.getUint32(offset, true);
  }

  /** Not exact beyond 2^53: where no offset, size or address of a guest can be. */
  u64(offset: number, what = 'its header'): number {
    this.#check(offset, 8, what);
    return Number(this.#view.getBigUint64(offset, true));
  }

  /** A part of the file. */
  slice(offset: number, length: number, what: string): Uint8Array {
    this.#check(offset, length, what);
    return this.bytes.subarray(offset, offset + length);
  }
}
