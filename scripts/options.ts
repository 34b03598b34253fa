// What a script is told on its command line. What it cannot be told ends the process, with 2 and a sentence.
import { basename } from 'node:path';
import { parseArgs, type ParseArgsConfig } from 'node:util';

export function refuse(sentence: string): never {
  console.error(sentence);
  process.exit(2);
}

/** The options, in the form of Node's parseArgs. */
export function readOptions<const T extends ParseArgsConfig>(config: T): ReturnType<typeof parseArgs<T>>['values'] {
  try {
    return parseArgs(config).values;
  } catch (error) {
    const script = basename(process.argv[1] ?? '', '.js');
    return refuse(`${(error as Error).message}\nThe first lines of ${script}.ts tell the options.`);
  }
}

/** The number that an option has: a whole one, from `least` on, unless fractions are wanted. */
export function numberOf(
  option: string,
  value: string,
  { least = 0, fractions = false }: { least?: number; fractions?: boolean } = {},
): number {
  const number = value.trim() === '' ? NaN : Number(value);
  if (number >= least && (fractions ? Number.isFinite(number) : Number.isSafeInteger(number))) return number;
  return refuse(`--${option} wants a ${fractions ? '' : 'whole '}number from ${least} on, and not "${value}".`);
}

/** The name that an option has: one of these. */
export function nameOf(option: string, value: string, names: readonly string[]): string {
  return names.includes(value) ? value : refuse(`--${option} wants one of ${names.join(', ')}, and not "${value}".`);
}
