import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageFolder } from '../native.js';

/** Of this package. */
export const packageVersion = (): string =>
  (JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as { version: string }).version;
