// Arithmetic on values of 1 to 8 bytes in two halves, with its flags.
import { Operation } from './decode.js';
import { FLAG } from './words.js';

const { ADD, OR, ADC, SBB, AND, SUB } = Operation;
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
  const wide = size === 8;
  const a = wide ? aHi : aLo; // the halves with the sign
  const b = wide ? bHi : bLo;
  let lo: number;
  let hi: number;
  let carries: number; // or borrows, out of each bit of the half with the sign
  let overflow: number;
  switch (operation) {
    case ADD:
    case ADC: {
      lo = (aLo + bLo + (operation === ADC ? carry : 0)) | 0;
      hi = (aHi + bHi + (((aLo & bLo) | ((aLo | bLo) & ~lo)) >>> 31)) | 0;
      const r = wide ? hi : lo;
      carries = (a & b) | ((a | b) & ~r);
      overflow = (a ^ r) & (b ^ r);
      break;
    }
    case SUB:
    case SBB: {
      lo = (aLo - bLo - (operation === SBB ? carry : 0)) | 0;
      hi = (aHi - bHi - (((~aLo & bLo) | ((~aLo | bLo) & lo)) >>> 31)) | 0;
      const r = wide ? hi : lo;
      carries = (~a & b) | ((~a | b) & r);
      overflow = (a ^ b) & (a ^ r);
      break;
    }
    default:
      lo = operation === AND ? aLo & bLo : operation === OR ? aLo | bLo : aLo ^ bLo;
      hi = operation === AND ? aHi & bHi : operation === OR ? aHi | bHi : aHi ^ bHi;
      value.lo = lo;
      value.hi = hi;
      return resultFlags(lo, hi, size);
  }
  value.lo = lo;
  value.hi = hi;
  const unused = wide ? 0 : 32 - 8 * size;
  return (
    ((carries << unused) >>> 31) | // CF
    ((aLo ^ bLo ^ lo) & AF) |
    (overflow << unused < 0 ? OF : 0) |
    resultFlags(lo, hi, size)
  );
}
