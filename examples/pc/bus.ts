// The I/O ports, or the guest-physical addresses that are not memory: who answers where.

/** What answers on a range of a bus. Offsets count from the range's base; values are unsigned. */
export interface BusDevice {
  read(offset: number, size: number): number;
  write(offset: number, value: number, size: number): void;
}

interface Range {
  readonly base: number;
  readonly end: number;
  readonly width: number;
  readonly device: BusDevice;
}

const ALL_ONES: Readonly<Record<number, number>> = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff };

/**
 * A bus of byte addresses. An access that is wider than its device, or goes beyond its end, is split in halves, as ISA does
 * with 16-bit accesses to 8-bit cards. Where nobody answers, reads give all ones and writes are lost.
 */
export class Bus {
  /** By base, never overlapping. */
  readonly #ranges: Range[] = [];
  #last: Range = { base: 0, end: 0, width: 1, device: { read: () => 0xff, write: () => undefined } };

  /**
   * Puts a device on `length` addresses from `base`.
   *
   * @param width the widest access that the device takes: 1, 2 or 4 bytes.
   * @returns a function that removes it again.
   */
  add(base: number, length: number, device: BusDevice, width: 1 | 2 | 4 = 1): () => void {
    const range: Range = { base, end: base + length, width, device };
    if (this.#ranges.some((other) => base < other.end && other.base < range.end)) {
      throw new Error(`Two devices want the address 0x${base.toString(16)}.`);
    }
    this.#ranges.push(range);
    this.#ranges.sort((a, b) => a.base - b.base);
    return () => {
      const index = this.#ranges.indexOf(range);
      if (index >= 0) this.#ranges.splice(index, 1);
      if (this.#last === range) this.#last = { ...range, end: range.base };
    };
  }

  /** Whether anybody answers there, partly at least. */
  occupied(base: number, length: number): boolean {
    return this.#ranges.some((range) => base < range.end && range.base < base + length);
  }

  /** @param size 1, 2 or 4. */
  read(address: number, size: number): number {
    const range = this.#find(address);
    if (range !== undefined && size <= range.width && address + size <= range.end) {
      return range.device.read(address - range.base, size);
    }
    if (range === undefined && !this.occupied(address, size)) return ALL_ONES[size]!;
    if (size === 1) return 0xff;
    const half = size / 2;
    return this.read(address, half) + this.read(address + half, half) * 2 ** (8 * half);
  }

  /** @param size 1, 2 or 4. */
  write(address: number, value: number, size: number): void {
    const range = this.#find(address);
    if (range !== undefined && size <= range.width && address + size <= range.end) {
      range.device.write(address - range.base, value, size);
    } else if (size > 1) {
      const half = size / 2;
      this.write(address, value & (2 ** (8 * half) - 1), half);
      this.write(address + half, value >>> (8 * half), half);
    }
  }

  #find(address: number): Range | undefined {
    if (address >= this.#last.base && address < this.#last.end) return this.#last;
    let [low, high] = [0, this.#ranges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#ranges[middle]!.end <= address) low = middle + 1;
      else high = middle;
    }
    const range = this.#ranges[low];
    if (range === undefined || address < range.base) return undefined;
    return (this.#last = range);
  }
}
