// Checks at the border: what is wrong is said in a sentence, before anything has happened.
import { inspect } from 'node:util';

const show = (value: unknown): string => inspect(value, { depth: 0, breakLength: Infinity });

/** `value` if it is an integer from `min` to `max`, both included. */
export function integer(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number') throw new TypeError(`${name} must be a number, not ${show(value)}.`);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} must be an integer from ${min} to ${max}, not ${value}.`);
  }
  return value;
}

/** `value` if it is a multiple of 4096 from `min` to `max`. */
export function pageMultiple(name: string, value: unknown, min: number, max: number): number {
  const bytes = integer(name, value, min, max);
  if (bytes % 4096 !== 0) throw new RangeError(`${name} must be a multiple of the page size, 4096, not ${bytes}.`);
  return bytes;
}

/** `value` if it is a bigint of 64 bits, without a sign. */
export function bigint64(name: string, value: unknown): bigint {
  if (typeof value !== 'bigint') throw new TypeError(`${name} must be a bigint, not ${show(value)}.`);
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn) {
    throw new RangeError(`${name} must be from 0n to 0xffffffffffffffffn, not ${value}n.`);
  }
  return value;
}

export function boolean(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${name} must be true or false, not ${show(value)}.`);
  return value;
}

export function string(name: string, value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string, not ${show(value)}.`);
  return value;
}

/** `value` if it is one of `choices`. */
export function oneOf<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (!choices.includes(value as T)) {
    throw new TypeError(`${name} must be ${choices.map((choice) => `'${choice}'`).join(' or ')}, not ${show(value)}.`);
  }
  return value as T;
}

/** `value` if it is a function, or undefined. */
export function callback(name: string, value: unknown): unknown {
  if (value !== undefined && typeof value !== 'function') {
    throw new TypeError(`${name} must be a function, not ${show(value)}.`);
  }
  return value;
}

/** The signal of options that have nothing else. */
export function abortSignal(name: string, value: unknown): AbortSignal | undefined {
  const { signal } = options(name, value, ['signal']);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new TypeError(`signal must be an AbortSignal, not ${show(signal)}.`);
  }
  return signal;
}

/** The properties of an options object, each read once; a name that is not in `known` is an error, not ignored. */
export function options<K extends string>(
  name: string,
  value: unknown,
  known: readonly K[],
): Partial<Record<K, unknown>> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null)
    throw new TypeError(`${name} must be an object, not ${show(value)}.`);
  for (const key of Object.keys(value)) {
    if (!known.includes(key as K)) {
      throw new TypeError(`${name} has no property '${key}': it may have ${known.join(', ')}.`);
    }
  }
  const source = value as Record<string, unknown>;
  const result: Partial<Record<K, unknown>> = {};
  for (const key of known) {
    const property = source[key];
    if (property !== undefined) result[key] = property;
  }
  return result;
}
