// Finds the scenarios of files and folders, for AMD and for Intel.
//
// A folder holds the AMD ones. Its subfolder intel/ names those that hold on Intel too (same.json), holds those that
// differ or exist only there, and the reasons for the rest.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

import { onIntel } from './intel.js';
import { dataFolder } from './native.js';
import type { SameFile, Scenario, ScenarioFile, Vendor } from './types.js';
import { UserError } from './user-error.js';

/** One scenario on one vendor's CPU. */
export interface Case {
  vendor: Vendor;
  group: string;
  scenario: Scenario;
  fixture: Scenario | undefined;
  /** Why it is not to be run. */
  leftOut?: string;
}

export const ownScenarios = resolve(dataFolder, 'scenarios');

const fixturesName = 'fixtures.json';

function readJson(path: string): unknown {
  let text;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${(error as Error).message}`);
  }
}

const isObject = (item: unknown): item is Record<string, unknown> => typeof item === 'object' && item !== null;
const isStep = (item: unknown) => isObject(item) && typeof item['op'] === 'string';
const isScenario = (item: unknown): item is Scenario =>
  isObject(item) &&
  typeof item['name'] === 'string' &&
  Array.isArray(item['steps']) &&
  item['steps'].every(isStep) &&
  (item['needs'] === undefined || Array.isArray(item['needs']));

function readScenarios(path: string): ScenarioFile {
  const file = readJson(path) as Partial<ScenarioFile> | null;
  if (!Array.isArray(file?.scenarios) || !file.scenarios.every(isScenario)) {
    throw new UserError(
      `${path} holds no scenarios: it lacks a list "scenarios", each with a name and a list of steps.`,
    );
  }
  if (file.format !== undefined && file.format !== 1) {
    throw new UserError(`${path} has format ${String(file.format)}; only format 1 is known.`);
  }
  return {
    format: 1,
    recorded: file.recorded ?? '',
    group: file.group ?? basename(path, '.json'),
    scenarios: file.scenarios,
  };
}

/** The scenario files of a folder, in the order of their names. */
const filesOf = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.json') && name !== fixturesName && name !== 'same.json')
    .sort()
    .map((name) => join(folder, name));

/** The fixtures beside a file, else those of the repository. */
function fixturesFor(folder: string, vendor: Vendor): Map<string, Scenario> {
  const own = join(folder, fixturesName);
  const shared = join(ownScenarios, vendor === 'intel' ? 'intel' : '', fixturesName);
  const { scenarios } = readScenarios(existsSync(own) ? own : shared);
  return new Map(scenarios.map((fixture) => [fixture.name, fixture]));
}

/** A fixture of the repository. */
export function fixtureNamed(name: string, vendor: Vendor): Scenario {
  const fixture = fixturesFor(vendor === 'intel' ? join(ownScenarios, 'intel') : ownScenarios, vendor).get(name);
  if (!fixture) throw new UserError(`No fixture is named ${name}.`);
  return fixture;
}

const isIntelRecording = (path: string, file: ScenarioFile) =>
  /vmx/i.test(file.recorded) || basename(dirname(path)) === 'intel';

function toCases(
  vendor: Vendor,
  file: Pick<ScenarioFile, 'group' | 'scenarios'>,
  fixtures: Map<string, Scenario>,
  same?: SameFile,
): Case[] {
  const chosen = file.scenarios.filter(({ only }) => only === undefined || only === vendor);
  return chosen.map((scenario) => {
    const fixture = scenario.fixture === undefined ? undefined : fixtures.get(scenario.fixture);
    if (scenario.fixture !== undefined && !fixture) {
      throw new UserError(
        `${file.group}/${scenario.name} needs the fixture ${scenario.fixture}, which does not exist.`,
      );
    }
    const { group } = file;
    if (vendor === 'amd') return { vendor, group, scenario, fixture };
    return {
      vendor,
      group,
      scenario: onIntel(group, scenario, same?.cpu[`${group}/${scenario.name}`]),
      fixture: fixture && onIntel('fixtures', fixture, undefined),
    };
  });
}

function readSame(path: string): SameFile {
  const file = existsSync(path) ? readJson(path) : {};
  if (!isObject(file)) throw new UserError(`${path} is not an object.`);
  return { same: {}, cpu: {}, left_out: {}, ...file };
}

/** What holds on Intel of an AMD file: the shared scenarios, and the file of the same name in intel/. */
function intelCasesOf(path: string, file: ScenarioFile): Case[] {
  const folder = join(dirname(path), 'intel');
  const samePath = join(folder, 'same.json');
  const ownPath = join(folder, basename(path));
  const fixtures = fixturesFor(folder, 'intel');
  const same = readSame(samePath);
  const holds = new Set(same.same[file.group]);
  const shared = {
    group: file.group,
    scenarios: file.scenarios.filter(({ name, only }) => holds.has(name) || only === 'intel'),
  };
  const left = file.scenarios.flatMap((scenario): Case[] => {
    const leftOut = same.left_out[`${file.group}/${scenario.name}`];
    return leftOut === undefined ? [] : [{ vendor: 'intel', group: file.group, scenario, fixture: undefined, leftOut }];
  });
  return [
    ...toCases('intel', shared, fixtures, same),
    ...(existsSync(ownPath) ? toCases('intel', readScenarios(ownPath), fixtures) : []),
    ...left,
  ];
}

function casesOfFile(path: string, vendor: Vendor, explicit: boolean): Case[] {
  const file = readScenarios(path);
  const folder = dirname(path);
  if (isIntelRecording(path, file))
    return vendor === 'intel' ? toCases('intel', file, fixturesFor(folder, 'intel')) : [];
  if (vendor === 'amd') return toCases('amd', file, fixturesFor(folder, 'amd'));
  if (existsSync(join(folder, 'intel'))) return intelCasesOf(path, file);
  // Nothing says what holds on Intel: all of it does for somebody who asks for Intel.
  return explicit ? toCases('intel', file, fixturesFor(join(folder, 'intel'), 'intel')) : [];
}

/** The scenarios of these files and folders. `explicit`: the vendors are the user's choice. */
export function loadCases(paths: string[], vendors: Vendor[], explicit: boolean): Case[] {
  return vendors.flatMap((vendor) =>
    paths.flatMap((path) => {
      if (!existsSync(path)) throw new UserError(`${path} does not exist.`);
      if (!statSync(path).isDirectory()) return casesOfFile(resolve(path), vendor, explicit);
      const folder = resolve(path);
      const files = filesOf(folder);
      // A group that exists only on Intel has no file in the folder itself.
      const intel = join(folder, 'intel');
      const onlyIntel =
        vendor === 'intel' && existsSync(intel)
          ? filesOf(intel).filter((file) => !existsSync(join(folder, basename(file))))
          : [];
      if (files.length + onlyIntel.length === 0 && !existsSync(intel))
        throw new UserError(`${path} holds no scenario files.`);
      return [...files, ...onlyIntel].flatMap((file) => casesOfFile(file, vendor, explicit));
    }),
  );
}
