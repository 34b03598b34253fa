// Programs of native/test for the suite: compiled here, and linked with the objects that node-gyp made of the software
// CPU, so that neither CMake nor a second build of it is needed.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's folder. */
export const root = fileURLToPath(new URL('../../..', import.meta.url));

const objectsFolder = join(root, 'build', 'Release', 'obj.target', 'nvmm_mock', 'native', 'mock', 'cpu');
const sourcesFolder = join(root, 'native', 'test');

const filesIn = (folder: string, name: RegExp): string[] =>
  readdirSync(folder)
    .filter((file) => name.test(file))
    .map((file) => join(folder, file));

/** The status of a program that has nothing to do on this host, and prints why. */
export const SKIPPED = 77;

/** Why the programs cannot be made here, or undefined. */
export function unavailable(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'the host is no Linux on x86-64';
  if (process.env['NVMM_BUILD_DIR'] !== undefined) return 'the modules are of another build (NVMM_BUILD_DIR)';
  if (!existsSync(objectsFolder)) return 'node-gyp has left no objects (npm run build:native makes them)';
  return undefined;
}

/** Builds native/test/NAME.cc, the oracle's programs with its parts, unless that is done already; the program's path. */
export function buildProgram(name: string): string {
  const folder = join(root, 'build', 'test');
  const program = join(folder, name);
  const objects = filesIn(objectsFolder, /\.o$/);
  const parts = name === 'oracle' || name === 'opcode_test' ? filesIn(sourcesFolder, /^oracle_.*\.cc$/) : [];
  const sources = [join(sourcesFolder, `${name}.cc`), ...parts];
  const changed = (path: string): number => statSync(path).mtimeMs;
  const inputs = [...objects, ...sources, ...filesIn(sourcesFolder, /\.h$/)];
  if (existsSync(program) && inputs.every((path) => changed(path) <= changed(program))) return program;
  mkdirSync(folder, { recursive: true });
  const [compiler = 'c++', ...launched] = (process.env['CXX'] ?? 'c++').split(' ');
  const flags = ['-std=c++17', '-O0', '-fPIE', '-pie', '-fno-strict-aliasing', `-I${join(root, 'native')}`];
  // One file at a time: the compiler's launcher may keep the results.
  const made = sources.map((source) => {
    const object = join(folder, `${source.slice(sourcesFolder.length + 1)}.o`);
    if (!existsSync(object) || filesIn(sourcesFolder, /\.(h|cc)$/).some((path) => changed(path) > changed(object))) {
      execFileSync(compiler, [...launched, ...flags, '-c', source, '-o', object], { stdio: 'pipe' });
    }
    return object;
  });
  execFileSync(compiler, [...launched, ...flags, '-pthread', ...made, ...objects, '-o', program], { stdio: 'pipe' });
  return program;
}
