// The guest's memory as devices and loaders see it: guest-physical addresses, always checked.

/** A piece of guest memory, as this process sees it. */
export interface MemoryWindow {
  readonly gpa: number;
  readonly bytes: Uint8Array;
}

/** An address that the guest or a file named, and that is no memory. */
export class NoMemoryError extends RangeError {
  override readonly name = 'NoMemoryError';
  constructor(gpa: number, length: number) {
    super(`There is no memory for ${length} bytes at 0x${gpa.toString(16)}.`);
  }
}

export class GuestMemory {
  readonly #windows: readonly (MemoryWindow & { readonly view: DataView })[];

  /** @param windows without overlaps; those that follow each other without a gap are one memory. */
  constructor(windows: readonly MemoryWindow[]) {
    this.#windows = windows
      .map(({ gpa, bytes }) => ({ gpa, bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) }))
      .sort((a, b) => a.gpa - b.gpa);
  }

  /** The bytes of a range, in as many pieces as there are windows in it. @throws NoMemoryError */
  pieces(gpa: number, length: number): Uint8Array[] {
    const pieces: Uint8Array[] = [];
    let [at, left] = [gpa, length];
    for (const window of this.#windows) {
      if (left === 0) break;
      const offset = at - window.gpa;
      if (offset < 0 || offset >= window.bytes.length) continue;
      const piece = window.bytes.subarray(offset, Math.min(offset + left, window.bytes.length));
      pieces.push(piece);
      at += piece.length;
      left -= piece.length;
    }
    if (left > 0) throw new NoMemoryError(gpa, length);
    return pieces;
  }

  /** Copies guest memory into `target`. @throws NoMemoryError, having copied nothing. */
  read(gpa: number, target: Uint8Array): void {
    let at = 0;
    for (const piece of this.pieces(gpa, target.length)) {
      target.set(piece, at);
      at += piece.length;
    }
  }

  /** Copies `source` into guest memory. @throws NoMemoryError, having copied nothing. */
  write(gpa: number, source: Uint8Array): void {
    let at = 0;
    for (const piece of this.pieces(gpa, source.length)) {
      piece.set(source.subarray(at, at + piece.length));
      at += piece.length;
    }
  }

  /** @throws NoMemoryError */
  fill(gpa: number, length: number, value: number): void {
    for (const piece of this.pieces(gpa, length)) piece.fill(value);
  }

  readUint16(gpa: number): number {
    const { view, offset } = this.#at(gpa, 2);
    return view.getUint16(offset, true);
  }

  writeUint16(gpa: number, value: number): void {
    const { view, offset } = this.#at(gpa, 2);
    view.setUint16(offset, value, true);
  }

  readUint32(gpa: number): number {
    const { view, offset } = this.#at(gpa, 4);
    return view.getUint32(offset, true);
  }

  writeUint32(gpa: number, value: number): void {
    const { view, offset } = this.#at(gpa, 4);
    view.setUint32(offset, value, true);
  }

  /** A 64-bit number; exact below 2^53, beyond which no address can be memory. */
  readUint64(gpa: number): number {
    return this.readUint32(gpa) + this.readUint32(gpa + 4) * 2 ** 32;
  }

  writeUint64(gpa: number, value: number): void {
    this.writeUint32(gpa, value % 2 ** 32);
    this.writeUint32(gpa + 4, Math.floor(value / 2 ** 32));
  }

  /** Numbers are read and written at their natural alignment only, so that none lies in two windows. */
  #at(gpa: number, size: number): { view: DataView; offset: number } {
    for (const window of this.#windows) {
      const offset = gpa - window.gpa;
      if (offset >= 0 && offset + size <= window.bytes.length) return { view: window.view, offset };
    }
    throw new NoMemoryError(gpa, size);
  }
}
