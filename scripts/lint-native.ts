// Checks the C++ sources: their form by clang-format and, with --tidy, their content by clang-tidy (which wants
// build-cmake/compile_commands.json). Says so and passes where a tool is not installed: the package can be developed
// without them.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Each major version formats a little differently.
const FORMATTED_BY = '14';

const root = fileURLToPath(new URL('../..', import.meta.url));
const files = readdirSync(join(root, 'native'), { recursive: true, encoding: 'utf8' })
  .filter((path) => /\.(cc|h)$/.test(path))
  .map((path) => join('native', path))
  .sort();

/** The major version of an installed LLVM tool. */
function majorVersion(tool: string): string | undefined {
  const { error, stdout } = spawnSync(tool, ['--version'], { encoding: 'utf8' });
  return error === undefined ? /version (\d+)/.exec(stdout)?.[1] : undefined;
}

function passes(tool: string, options: string[]): boolean {
  return spawnSync(tool, options, { cwd: root, stdio: 'inherit' }).status === 0;
}

let clean = true;
if (majorVersion('clang-format') !== FORMATTED_BY) {
  console.log(`clang-format ${FORMATTED_BY} is not installed: the form of the C++ sources is not checked`);
} else if (!passes('clang-format', ['--dry-run', '--Werror', ...files])) {
  console.log('Mend the form with: clang-format -i FILE');
  clean = false;
}
if (process.argv.includes('--tidy')) {
  const sources = files.filter((file) => file.endsWith('.cc') && !/netbsd_check|module|bind/.test(file));
  if (majorVersion('clang-tidy') === undefined) console.log('clang-tidy is not installed: skipped');
  else clean = passes('clang-tidy', ['-p', 'build-cmake', '--quiet', ...sources]) && clean;
}
process.exit(clean ? 0 : 1);
