// Holds what a device answered against what was recorded.
import type { Expected } from './types.js';

/** What a device answered: numbers, names (of errnos, of exits), bytes as hexadecimal digits, or yes and no. */
export type Value = bigint | string | boolean;

const isNumber = (text: string) => /^-?(0x[0-9a-f]+|[0-9]+)$/i.test(text);

function equal(expected: string | number | boolean, actual: Value): boolean {
  if (typeof actual === 'boolean' || typeof expected === 'boolean') return expected === actual;
  if (typeof actual === 'bigint') {
    if (typeof expected === 'number' || isNumber(expected)) return BigInt(expected) === actual;
    // A number with digits that do not matter.
    return /^0x[0-9a-f?]+$/i.test(expected) && digitsMatch(expected.slice(2), actual.toString(16));
  }
  return (
    typeof expected === 'string' &&
    (expected === actual || (expected.length === actual.length && digitsMatch(expected, actual)))
  );
}

/** Hexadecimal digits, `?` for any; leading zeros of numbers may be missing. */
function digitsMatch(expected: string, actual: string): boolean {
  const pattern = expected.toLowerCase();
  const digits = actual.toLowerCase().padStart(pattern.length, '0');
  if (digits.length !== pattern.length) return false;
  for (let i = 0; i < pattern.length; i++) if (pattern[i] !== '?' && pattern[i] !== digits[i]) return false;
  return true;
}

/** Whether `actual` is what `expected` describes. undefined: the device answered nothing of the kind. */
export function matches(expected: Expected, actual: Value | undefined): boolean {
  if (expected === '*') return true;
  if (actual === undefined) return false;
  if (typeof expected !== 'object') return equal(expected, actual);
  if ('oneOf' in expected) return expected.oneOf.some((one) => matches(one, actual));
  if (typeof actual !== 'bigint') return false;
  if ('mask' in expected) return (actual & BigInt(expected.mask)) === BigInt(expected.is);
  if ('nonzero' in expected) return actual !== 0n;
  const { min, max } = expected;
  return (min === undefined || actual >= BigInt(min)) && (max === undefined || actual <= BigInt(max));
}

/** The bytes of an instruction in a MEMORY exit: none given, or those recorded, and perhaps more. */
export function instructionMatches(expected: Expected, length: bigint, bytes: string): boolean {
  if (typeof expected === 'object' && 'oneOf' in expected) {
    return expected.oneOf.some((one) => instructionMatches(one, length, bytes));
  }
  if (typeof expected !== 'string') return false;
  if (expected === '*' || length === 0n) return true;
  const recorded = expected.length / 2;
  return length >= recorded && digitsMatch(expected, bytes.slice(0, expected.length));
}

/** For people. */
export function show(value: Expected | Value | undefined): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'bigint') return value < 0n ? String(value) : `0x${value.toString(16)}`;
  return typeof value === 'string' ? value : JSON.stringify(value);
}
