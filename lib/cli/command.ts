// What a command of `nvmm` is: a table of options, from which come its help and the reading of its arguments.
import { parseArgs } from 'node:util';

/** The arguments are wrong: the message says which. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface Option {
  /** What the option takes, as the help names it; a switch if not given. */
  readonly argument?: string;
  readonly help: string;
  /** May be given several times. */
  readonly multiple?: boolean;
}

export interface Command {
  readonly name: string;
  /** One line. */
  readonly summary: string;
  /** What comes after the options: 'FILE [ARGUMENT]...'. Nothing may if not given. */
  readonly operands?: string;
  /** What the help says beyond the summary. */
  readonly description?: string;
  readonly options: Readonly<Record<string, Option>>;
  /** @returns the exit status. */
  run(given: Given): number | Promise<number>;
}

/** The options and operands of a call. */
export class Given {
  readonly operands: readonly string[];
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>, operands: readonly string[]) {
    this.#values = values;
    this.operands = operands;
  }

  has(option: string): boolean {
    return this.#values[option] === true;
  }

  text(option: string): string | undefined {
    return this.#values[option] as string | undefined;
  }

  list(option: string): readonly string[] {
    return (this.#values[option] ?? []) as string[];
  }

  /** A choice among words. */
  oneOf<T extends string>(option: string, choices: readonly T[]): T | undefined {
    const value = this.text(option);
    if (value !== undefined && !choices.includes(value as T)) {
      throw new UsageError(`--${option} is one of ${choices.join(', ')}, not "${value}".`);
    }
    return value as T | undefined;
  }

  /** A number that `read` understands, from `min` to `max`; `otherwise` if the option is not given. */
  number(
    option: string,
    otherwise: number,
    [min, max]: readonly [number, number],
    read: (text: string) => number = Number,
  ): number {
    const text = this.text(option);
    if (text === undefined) return otherwise;
    const value = text.trim() === '' ? NaN : read(text);
    if (!(value >= min && value <= max)) {
      throw new UsageError(`--${option} is a number from ${min} to ${max}, not "${text}".`);
    }
    return value;
  }
}

const HELP: Readonly<Record<string, Option>> = { help: { help: 'this text' } };

/** All options of a command, those that every command has included. */
export const optionsOf = ({ options }: Command): Readonly<Record<string, Option>> => ({ ...options, ...HELP });

/** @throws UsageError */
export function parse(command: Command, args: readonly string[]): Given {
  const options = Object.entries(optionsOf(command)).map(([name, { argument, multiple = false }]) => {
    return [name, { type: argument === undefined ? 'boolean' : 'string', multiple }] as const;
  });
  const given = read(() =>
    parseArgs({ args: [...args], allowPositionals: true, options: Object.fromEntries(options) }),
  );
  const { operands } = command;
  if (operands === undefined && given.positionals.length > 0) {
    throw new UsageError(`${command.name} takes no argument "${given.positionals[0]}".`);
  }
  if (operands !== undefined && given.positionals.length === 0 && given.values['help'] !== true) {
    throw new UsageError(`${command.name} needs a ${operands.split(' ')[0]}.`);
  }
  return new Given(given.values, given.positionals);
}

function read<T>(parsing: () => T): T {
  try {
    return parsing();
  } catch (error) {
    // Node explains at length how to pass an operand that begins with a dash: the first sentence is enough.
    throw new UsageError(`${(error as Error).message.split('. ')[0]!.replace(/\.$/, '')}.`);
  }
}

/** The text of `nvmm COMMAND --help`. */
export function help(command: Command): string {
  const { name, summary, description, operands } = command;
  const options = Object.entries(optionsOf(command)).map(([option, { argument, help }]) => {
    const head = `  --${option}${argument === undefined ? '' : ` ${argument}`}`;
    return [head, help] as const;
  });
  const width = Math.max(...options.map(([head]) => head.length)) + 2;
  const lines = options.map(([head, text]) => head.padEnd(width) + text.replaceAll('\n', `\n${' '.repeat(width)}`));
  return [
    `Usage: nvmm ${name} [OPTION]...${operands === undefined ? '' : ` ${operands}`}`,
    summary,
    ...(description === undefined ? [] : ['', description]),
    '',
    ...lines,
    '',
  ].join('\n');
}
