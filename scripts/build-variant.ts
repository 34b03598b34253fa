// Builds the native modules and programs in a folder of their own, with CMake options: `build-NAME`.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Builds `targets`, and names the folder that they lie in: modules in Release/, programs beside it. */
export function buildVariant(name: string, options: Record<string, string>, targets: string[]): string {
  const folder = join(root, `build-${name}`);
  const settings = Object.entries(options).map(([option, value]) => `--CD${option}=${value}`);
  const cmakeJs = join(root, 'node_modules', '.bin', 'cmake-js');
  for (const target of targets) {
    console.error(`building ${target} in build-${name}`);
    const { status, error, stdout } = spawnSync(cmakeJs, ['build', '--out', folder, '--target', target, ...settings], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (error !== undefined) throw error;
    if (status !== 0) {
      console.error(stdout);
      throw new Error(`${target} could not be built (CMake must be installed).`);
    }
  }
  return folder;
}

export const MODULES = ['nvmm', 'nvmm_raw', 'nvmm_mock'];

/** For mocha, on a build that takes many times as long: without the tests that boot systems, which would take hours, those of
 * building and packing, which are about other programs, and `more`; and timing says nothing. */
export function slowSuite(...more: string[]): string[] {
  const leftOut = ['pc/boot', 'pc/firmware', 'package/package', ...more];
  return ['--timeout', '0', ...leftOut.flatMap((test) => ['--ignore', `dist/test/${test}.test.js`])];
}
