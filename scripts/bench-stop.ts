// npm run bench:stop: milliseconds from a stop to the end of the run, with the guests of test/hostile, each in a process of
// its own. The value is the median of STOPS, the row below it the worst.
import { spawnSync } from 'node:child_process';
import { GUESTS } from '../test/hostile/guests/guests.js';
import type { Report } from '../test/hostile/guests/session.js';
import { median, report, rounds, type Row } from './bench.js';
import { root } from './build-variant.js';

const STOPS = rounds(21);

const rows = GUESTS.flatMap((name): Row[] => {
  const { stdout } = spawnSync(
    process.execPath,
    ['--expose-gc', 'dist/test/hostile/guests/session.js', name, 'amd', '1', String(STOPS)],
    { cwd: root, encoding: 'utf8' },
  );
  const { stops } = JSON.parse(stdout) as Report;
  return [
    { name: `stop of a guest that ${name}`, value: median(stops), unit: 'ms' },
    { name: `  the slowest of ${STOPS}`, value: Math.max(...stops), unit: 'ms' },
  ];
});
report(rows);
