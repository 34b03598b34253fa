/** Vectors of the exceptions that the assists raise. */
export const Vector = { UD: 6, SS: 12, GP: 13, PF: 14, AC: 17 } as const;

/** An exception that the instruction raises in the guest: not an error of the host's. */
export class GuestFault extends Error {
  readonly vector: number;
  readonly error: number;
  /** Of a page fault: the linear address, for CR2. */
  readonly lo: number;
  readonly hi: number;

  constructor(vector: number, error: number, lo = 0, hi = 0) {
    super(`exception ${vector}`);
    this.vector = vector;
    this.error = error;
    this.lo = lo;
    this.hi = hi;
  }
}
