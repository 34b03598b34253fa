// Guest programs are assembly sources, or C in examples/sandbox; beside each NAME.S or NAME.c lies NAME.guest.ts with its bytes,
// so that they run on hosts without x86 binutils. `npm run guests` makes those files anew; a test compares those from assembly
// where `as` exists. What a C compiler makes depends on its version: there the test compares what the guest does.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's folder. */
const root = fileURLToPath(new URL('../..', import.meta.url));

/** Other folders have C that is not a guest. */
const C_FOLDER = join('examples', 'sandbox');

/** 64-bit code that needs nothing: no library, no stack protector, no SSE, no space below the stack pointer. */
const C_OPTIONS =
  '-m64 -Os -std=c11 -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables ' +
  '-mno-red-zone -mgeneral-regs-only -mcmodel=small -fno-toplevel-reorder -Wall -Wextra -Werror -c';

/** The sources of all guests, as paths from the package's folder. */
export const guestSources = (): string[] =>
  ['examples', 'scripts', 'test']
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(folder, path)),
    )
    .filter((path) => path.endsWith('.S') || (path.startsWith(C_FOLDER) && path.endsWith('.c')))
    .sort();

/** Whether this host can assemble x86 guests. */
export function canAssemble(): boolean {
  try {
    return execFileSync('as', ['--64', '--version'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).includes('GNU');
  } catch {
    return false;
  }
}

/** Whether this host can compile C for x86 guests. */
export function canCompile(): boolean {
  return process.arch === 'x64' && spawnSync('gcc', ['--version']).status === 0 && canAssemble();
}

/** The text of NAME.guest.ts for the source at `path`. */
export function assemble(path: string): string {
  const origin = /origin: (0x[0-9a-f]+)/.exec(readFileSync(join(root, path), 'utf8'))?.[1];
  if (origin === undefined) throw new Error(`${path} names no origin: write "origin: 0x1000" into its first comment.`);
  const folder = mkdtempSync(join(tmpdir(), 'nvmm-guest-'));
  try {
    const object = join(folder, 'guest.o');
    const binary = join(folder, 'guest.bin');
    if (path.endsWith('.c')) execFileSync('gcc', [...C_OPTIONS.split(' '), '-o', object, path], { cwd: root });
    else execFileSync('as', ['--64', '-o', object, path], { cwd: root });
    execFileSync('ld', [
      '-N',
      '-m',
      'elf_x86_64',
      '-Ttext',
      origin,
      '-e',
      origin,
      '--oformat=binary',
      '-o',
      binary,
      object,
    ]);
    const hex =
      readFileSync(binary)
        .toString('hex')
        .match(/.{1,96}/g) ?? [];
    const name = basename(path, extname(path)).replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
    return [
      `// Made from ${basename(path)} by "npm run guests".`,
      `const hex =\n${hex.map((line) => `  '${line}'`).join(' +\n')};`,
      '',
      '/** The program, and the guest-physical address that it was assembled for. */',
      `export const ${name} = { origin: ${origin}, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) };`,
      '',
    ].join('\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Where the bytes of the source at `path` lie. */
export const guestModule = (path: string): string => join(root, path.replace(/\.[Sc]$/, '.guest.ts'));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (!canAssemble()) {
    console.error('The guests need GNU as and ld for x86-64: install binutils.');
    process.exit(1);
  }
  for (const source of guestSources()) {
    writeFileSync(guestModule(source), assemble(source));
    console.log(`${source} -> ${guestModule(source).slice(root.length)}`);
  }
}
