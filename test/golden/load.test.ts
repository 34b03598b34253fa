import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { expect } from 'chai';

import { loadCases, ownScenarios } from '../../lib/selftest/golden/load.js';
import type { Vendor } from '../../lib/selftest/golden/types.js';

const step = { op: 'open', expect: { ret: 0 } };
const scenario = (name: string, more: object = {}) => ({ name, rule: '', steps: [step], ...more });
const file = (recorded: string, ...scenarios: object[]) => ({
  format: 1,
  recorded: `x86-${recorded} backend`,
  scenarios,
});

describe('loading scenarios', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'golden-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  function write(name: string, content: unknown): string {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  }

  const names = (path: string, vendor: Vendor, explicit = false) =>
    loadCases([path], [vendor], explicit).map((item) => `${item.group}/${item.scenario.name}`);

  it('finds each of our own AMD scenarios on Intel, once: shared, different, or left out with a reason', () => {
    const intel = names(ownScenarios, 'intel');
    expect(new Set(intel).size).to.equal(intel.length);
    expect(intel).to.include.members(names(ownScenarios, 'amd'));
    const left = loadCases([ownScenarios], ['intel'], false).filter(({ leftOut }) => leftOut !== undefined);
    expect(left.length).to.equal(3);
  });

  it('uses intel/ as same.json, different scenarios and groups of its own', () => {
    write('run.json', file('svm', scenario('both'), scenario('differs'), scenario('amd-only')));
    write('intel/same.json', {
      same: { run: ['both'] },
      cpu: { 'run/both': 'has X' },
      left_out: { 'run/amd-only': 'why' },
    });
    write('intel/run.json', file('vmx', scenario('differs'), scenario('new')));
    write('intel/other.json', file('vmx', scenario('a')));
    expect(names(folder, 'amd')).to.deep.equal(['run/both', 'run/differs', 'run/amd-only']);
    const cases = loadCases([folder], ['intel'], false);
    expect(cases.map(({ group, scenario: { name } }) => `${group}/${name}`)).to.deep.equal([
      'run/both',
      'run/differs',
      'run/new',
      'run/amd-only',
      'other/a',
    ]);
    expect(cases.map(({ leftOut }) => leftOut)).to.deep.equal([undefined, undefined, undefined, 'why', undefined]);
    expect(cases[0]?.scenario.cpu).to.equal('has X');
    expect(names(join(folder, 'intel'), 'amd')).to.deep.equal([]);
    expect(names(join(folder, 'intel/run.json'), 'intel')).to.deep.equal(['run/differs', 'run/new']);
  });

  it('takes a file that stands alone for Intel only where Intel is asked for', () => {
    const path = write('run.json', file('svm', scenario('a')));
    expect(names(path, 'amd')).to.deep.equal(['run/a']);
    expect(names(path, 'intel')).to.deep.equal([]);
    expect(names(path, 'intel', true)).to.deep.equal(['run/a']);
  });

  it('knows by the recording that a file is for Intel', () => {
    const path = write('new.json', file('vmx', scenario('a')));
    expect(names(path, 'amd')).to.deep.equal([]);
    expect(names(path, 'intel')).to.deep.equal(['new/a']);
  });

  it('takes fixtures from the folder, else from the repository', () => {
    const path = write('run.json', file('svm', scenario('a', { fixture: 'real' })));
    expect(loadCases([path], ['amd'], false)[0]?.fixture?.steps.length).to.be.greaterThan(5);
    write('fixtures.json', file('svm', scenario('real')));
    expect(loadCases([path], ['amd'], false)[0]?.fixture?.steps).to.deep.equal([step]);
  });

  const complaints: [string, unknown, RegExp][] = [
    ['JSON that is none', '{', /is not JSON/],
    ['a file without scenarios', {}, /holds no scenarios/],
    ['scenarios without steps', { scenarios: [{ name: 'a' }] }, /holds no scenarios/],
    ['a later format', { format: 2, scenarios: [] }, /format 2/],
    ['a fixture that does not exist', file('svm', scenario('a', { fixture: 'castle' })), /fixture castle/],
  ];
  for (const [what, content, sentence] of complaints) {
    it(`complains of ${what}`, () => {
      const path = write('run.json', content);
      expect(() => names(path, 'amd')).to.throw(sentence);
    });
  }

  it('complains of a path that does not exist, and of a folder without scenarios', () => {
    expect(() => names(join(folder, 'none'), 'amd')).to.throw(/does not exist/);
    expect(() => names(folder, 'amd')).to.throw(/holds no scenario files/);
  });
});
