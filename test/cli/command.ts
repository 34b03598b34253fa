// Runs `nvmm` as a process.
import { join } from 'node:path';
import { node, packageFolder, start, type Ended, type Started } from '../support/child.js';

export const MAIN = join(packageFolder, 'dist', 'lib', 'cli', 'main.js');

export interface How {
  /** A module of this folder that is loaded before the command. */
  readonly preload?: string;
  readonly input?: string;
  readonly env?: Record<string, string>;
}

/** NVMM_DEVICE is as if it were not set. */
const environment = (how: How): Record<string, string> => ({ NVMM_DEVICE: '', ...how.env });

const argumentsOf = (args: readonly string[], { preload }: How): string[] => [
  ...(preload === undefined ? [] : ['--import', `./dist/test/cli/${preload}.js`]),
  MAIN,
  ...args,
];

/** `nvmm ARGS`, to its end. */
export const nvmm = (args: readonly string[], how: How = {}): Promise<Ended> =>
  node(argumentsOf(args, how), environment(how), how.input);

/** `nvmm COMMAND --device mock ARGS`. */
export const onMock = ([command = '', ...args]: readonly string[], how: How = {}): Promise<Ended> =>
  nvmm([command, '--device', 'mock', ...args], how);

/** `nvmm ARGS` under way. */
export const startNvmm = (args: readonly string[], how: How = {}): Started =>
  start(process.execPath, argumentsOf(args, how), { env: environment(how) });
