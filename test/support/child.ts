// Runs TypeScript that was compiled, or a snippet, in a process of its own.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const packageFolder = fileURLToPath(new URL('../../..', import.meta.url));

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
}

const living = new Set<ChildProcessWithoutNullStreams>();

/** What is left of failed tests: while it lives, mocha does not end. */
export const mochaHooks = {
  afterAll(): void {
    for (const child of living) child.kill('SIGKILL');
  },
};

/** Starts a program in the package's folder, or in `cwd`. */
export function start(
  program: string,
  args: readonly string[],
  { env = {}, cwd = packageFolder }: { env?: Record<string, string>; cwd?: string } = {},
): Started {
  const child = spawn(program, args, { cwd, env: { ...process.env, ...env } });
  living.add(child);
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const ended = new Promise<Ended>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => {
      living.delete(child);
      resolve({ status, signal, stdout, stderr });
    });
  });
  return { child, ended };
}

/** Runs `node` with `args` in the package's folder until it ends. */
export function node(args: readonly string[], env: Record<string, string> = {}, input = ''): Promise<Ended> {
  const { child, ended } = start(process.execPath, args, { env });
  child.stdin.on('error', () => undefined); // it need not read it
  child.stdin.end(input);
  return ended;
}

/** Runs an ES module's text, with the package's names and the test guests at hand. */
export function snippet(text: string, options: string[] = []): Promise<Ended> {
  const prologue = `
    import { openNvmm, ExitReason, Gpr, NvmmError, Prot, StateFlag } from 'nvmm';
    import { createMock } from 'nvmm/mock';
    import { bytes, realMode, runOn } from './dist/test/support/guest.js';
    const nvmm = openNvmm({ device: createMock() });
    const machine = nvmm.createMachine();
  `;
  return node([...options, '--input-type=module', '-e', prologue + text]);
}
