// Checks the C++ sources: their form by clang-format and, with --tidy, their content by clang-tidy (which wants
// build-cmake/compile_commands.json). Says so and passes where a tool is not installed: the package can be developed
// without them.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// Each major version formats a little differently.
const VERSION = '14';

const root = fileURLToPath(new URL('../..', import.meta.url));
const files = readdirSync(join(root, 'native'), { recursive: true, encoding: 'utf8' })
  .filter((path) => /\.(cc|h)$/.test(path))
  .map((path) => join('native', path))
  .sort();

/** The command of an LLVM tool of this version: it may have the version in its name. */
function installed(tool: string): string | undefined {
  return [`${tool}-${VERSION}`, tool].find((command) => {
    const { error, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
    return error === undefined && /version (\d+)/.exec(stdout)?.[1] === VERSION;
  });
}

function passes(tool: string, options: string[]): boolean {
  return spawnSync(tool, options, { cwd: root, stdio: 'inherit' }).status === 0;
}

let clean = true;
const format = installed('clang-format');
if (format === undefined) {
  console.log(`clang-format ${VERSION} is not installed: the form of the C++ sources is not checked`);
} else if (!passes(format, ['--dry-run', '--Werror', ...files])) {
  console.log(`Mend the form with: ${format} -i FILE`);
  clean = false;
}
if (process.argv.includes('--tidy')) {
  const sources = files.filter((file) => file.endsWith('.cc') && !/netbsd_check|module|bind/.test(file));
  const tidy = installed('clang-tidy');
  if (tidy === undefined) console.log(`clang-tidy ${VERSION} is not installed: skipped`);
  else clean = passes(tidy, ['-p', 'build-cmake', '--quiet', ...sources]) && clean;
}
process.exit(clean ? 0 : 1);
