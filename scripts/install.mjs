// Builds the native modules: npm's `install` script. Prefers the headers that came with this Node, so that a host which
// reaches nothing but the npm registry can build; node-gyp downloads them where there are none.
// @ts-check
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';

const prefix = resolve(dirname(process.execPath), '..');
const bundled = existsSync(resolve(prefix, 'include/node/node_api.h'));
const result = spawnSync(
  'node-gyp',
  ['rebuild', '--jobs=max', ...(bundled ? [`--nodedir=${prefix}`] : []), ...process.argv.slice(2)],
  {
    stdio: 'inherit',
    shell: process.platform === 'win32',
  },
);
if (result.error) {
  console.error(
    `nvmm: node-gyp could not be started (${result.error.message}). Run this through npm: npm rebuild nvmm`,
  );
}
process.exit(result.status ?? 1);
