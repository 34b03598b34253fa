// An empty project of somebody else, with the package in it as npm would put it there.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { packageFolder, start, type Ended } from '../support/child.js';

/** The program of README, the one that everybody tries first. */
export const readmeProgram = (): string =>
  /```ts\n([^]*?)```/.exec(readFileSync(join(packageFolder, 'README.md'), 'utf8'))![1]!;

export interface Tarball {
  readonly path: string;
  /** Of the files in it, from the package's folder. */
  readonly files: readonly string[];
}

/** `npm pack`, of what is built already. */
export function pack(folder: string): Tarball {
  const output = execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], {
    cwd: packageFolder,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const [packed] = JSON.parse(output) as { filename: string; files: { path: string }[] }[];
  return { path: join(folder, packed!.filename), files: packed!.files.map(({ path }) => path) };
}

export class Project implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'nvmm-project-'));

  constructor() {
    this.write('package.json', '{ "name": "project", "private": true }');
  }

  write(name: string, text: string): void {
    writeFileSync(join(this.folder, name), text);
  }

  /** Unpacks the tarball, and lends it the modules that are built already: what npm does, without the time that a build takes. */
  unpack({ path }: Tarball): void {
    const target = join(this.folder, 'node_modules', 'nvmm');
    mkdirSync(target, { recursive: true });
    execFileSync('tar', ['-xzf', path, '-C', target, '--strip-components=1']);
    this.#lend('build', join(target, 'build'));
  }

  /** `npm install TARBALL`: builds the modules. */
  async install({ path }: Tarball): Promise<Ended> {
    return await start('npm', ['install', '--no-audit', '--no-fund', path], { cwd: this.folder }).ended;
  }

  /** Type declarations of Node, which TypeScript projects have. */
  addNodeTypes(): void {
    mkdirSync(join(this.folder, 'node_modules', '@types'), { recursive: true });
    for (const name of ['@types/node', 'undici-types']) {
      this.#lend(join('node_modules', name), join(this.folder, 'node_modules', name));
    }
  }

  #lend(name: string, as: string): void {
    symlinkSync(join(packageFolder, name), as);
  }

  /** Runs `node` in the project. */
  node(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    return start(process.execPath, args, { cwd: this.folder, env }).ended;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

/** TypeScript as JavaScript, for either kind of module. */
export const transpile = (program: string, module: ts.ModuleKind): string =>
  ts.transpileModule(program, { compilerOptions: { module, target: ts.ScriptTarget.ES2022 } }).outputText;
