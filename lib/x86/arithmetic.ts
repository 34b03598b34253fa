// Arithmetic on values of 1 to 8 bytes in two halves, with its flags.
import { Operation } from './decode.js';
import { FLAG } from './words.js';

const { OR, ADC, SBB, AND, SUB } = Operation;
const { AF, OF, PF, SF, ZF } = FLAG;

/** The flags that arithmetic sets. */
export const ARITHMETIC_FLAGS = FLAG.CF | PF | AF | ZF | SF | OF;

/** ZF, SF and PF of a result. */
function resultFlags(lo: number, hi: number, size: number): number {
  const top = size === 8 ? hi : lo << (32 - 8 * size);
  const zero = (size === 8 ? lo | hi : top) === 0;
  const nibble = (lo ^ (lo >> 4)) & 0xf;
  const evenParity = (0x9669 >> nibble) & 1; // of each of the 16 nibbles
  return (zero ? ZF : 0) | (top < 0 ? SF : 0) | (evenParity * PF);
}

/** A value in two halves. */
export interface Value {
  lo: number;
  hi: number;
}

/**
 * One of ADD to XOR: `value`, and then the second operand; the result replaces `value`. Where they have less than 8 bytes, what
 * is above in them and in the result means nothing.
 *
 * @param carry 0 or 1, for ADC and SBB.
 * @returns the arithmetic flags.
 */
export function arithmetic(
  operation: number,
  value: Value,
  bLo: number,
  bHi: number,
  size: number,
  carry: number,
): number {
  const aLo = value.lo;
  const aHi = value.hi;
  const isWide = size === 8;
  if (operation === AND || operation === OR || operation > SUB) {
    value.lo = operation === AND ? aLo & bLo : operation === OR ? aLo | bLo : aLo ^ bLo;
    value.hi = operation === AND ? aHi & bHi : operation === OR ? aHi | bHi : aHi ^ bHi;
    return resultFlags(value.lo, value.hi, size);
  }
  // a - b is a + ~b + 1, with all carries the other way round.
  const invert = operation === SUB || operation === SBB ? -1 : 0;
  const cLo = bLo ^ invert;
  const cHi = bHi ^ invert;
  const carryIn = operation === ADC || operation === SBB ? carry ^ (invert & 1) : invert & 1;
  const lo = (aLo + cLo + carryIn) | 0;
  const carriesLo = (aLo & cLo) | ((aLo | cLo) & ~lo); // out of each bit
  const hi = (aHi + cHi + (carriesLo >>> 31)) | 0;
  const carries = isWide ? (aHi & cHi) | ((aHi | cHi) & ~hi) : carriesLo << (32 - 8 * size);
  const overflow = isWide ? (aHi ^ hi) & (cHi ^ hi) : ((aLo ^ lo) & (cLo ^ lo)) << (32 - 8 * size);
  value.lo = lo;
  value.hi = hi;
  return (
    ((carries ^ invert) >>> 31) | // CF
    ((aLo ^ bLo ^ lo) & AF) |
    (overflow < 0 ? OF : 0) |
    resultFlags(lo, hi, size)
  );
}
