// The page of a running PC: what the server tells is shown, and what is typed and clicked goes back.
import { Terminal } from '@xterm/xterm';
import uPlot from 'uplot';
import type { Command, ProcessorView, Snapshot } from '../protocol.js';

const byId = (id: string): HTMLElement => document.getElementById(id)!;
const buttons = ['pause', 'reset', 'stop'].map((id) => byId(id) as HTMLButtonElement);
const [pauseButton] = buttons as [HTMLButtonElement];

const socket = new WebSocket(`ws://${location.host}/socket`);
socket.binaryType = 'arraybuffer';
const send = (command: Command): void => {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(command));
};

// ---- The serial console ----

const terminal = new Terminal({ cols: 80, rows: 25, fontSize: 14, scrollback: 5000, screenReaderMode: true });
terminal.open(byId('terminal'));
const encoder = new TextEncoder();
terminal.onData((text) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(encoder.encode(text));
});

// ---- State and buttons ----

function showState(state: Snapshot['state'] | 'ended'): void {
  const status = byId('status');
  if (status.dataset['state'] === state) return;
  status.dataset['state'] = state;
  status.textContent = state;
  pauseButton.textContent = state === 'paused' ? 'Resume' : 'Pause';
  for (const button of buttons) button.disabled = state === 'ended';
}

pauseButton.addEventListener('click', () => {
  send({ command: byId('status').dataset['state'] === 'paused' ? 'resume' : 'pause' });
});
byId('reset').addEventListener('click', () => {
  send({ command: 'reset' });
});
byId('stop').addEventListener('click', () => {
  if (confirm('Stop the machine? What its guest has not saved is lost.')) send({ command: 'stop' });
});

// ---- The screen, and the PC's keyboard ----

/** Keys by the monitor's names, where the browser's differ. */
const KEY_NAMES: Readonly<Record<string, string>> = {
  Enter: 'ret',
  Backspace: 'backspace',
  Escape: 'esc',
  ArrowUp: 'up',
  ArrowDown: 'down',
  ArrowLeft: 'left',
  ArrowRight: 'right',
  Home: 'home',
  End: 'end',
  PageUp: 'pgup',
  PageDown: 'pgdn',
  Delete: 'delete',
  Insert: 'insert',
};

byId('screen').addEventListener('keydown', (event) => {
  const isFunction = /^F\d+$/.test(event.key);
  const name = KEY_NAMES[event.key] ?? (isFunction ? event.key.toLowerCase() : event.key);
  // Tab leads on, as everywhere; the browser's own shortcuts stay its own.
  if (event.key === 'Tab' || event.ctrlKey || event.metaKey || (name === event.key && name.length > 1)) return;
  event.preventDefault();
  send({ command: 'key', key: name });
});

// ---- Exits per second ----

const COLORS = ['#2f8fd0', '#c98500', '#2fa866', '#e0504f', '#8f6ae0', '#d9722a', '#159f95', '#8f9400', '#cf5aa8'];
const KEPT = 120;

const reasons: string[] = [];
const times: number[] = [];
const rates: (number | null)[][] = [];
let last: Snapshot | undefined;
let chart: uPlot | undefined;

const styleOf = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function newChart(): uPlot {
  const axis: uPlot.Axis = {
    stroke: styleOf('--faint'),
    grid: { stroke: styleOf('--edge'), width: 1 },
    ticks: { stroke: styleOf('--edge'), width: 1 },
  };
  const element = byId('chart');
  element.replaceChildren();
  return new uPlot(
    {
      width: element.clientWidth,
      height: 220,
      legend: { show: false },
      cursor: { show: false },
      scales: { y: { range: (_self, _min, max) => [0, Math.max(10, max * 1.1)] } },
      axes: [
        { ...axis, values: (_self, values) => values.map((value) => `${value} s`) },
        { ...axis, size: 64, values: (_self, values) => values.map((value) => value.toLocaleString('en')) },
      ],
      series: [
        {},
        ...reasons.map((label, i) => ({
          label,
          stroke: COLORS[i % COLORS.length]!,
          width: 2,
          points: { show: false },
        })),
      ],
    },
    chartData(),
    element,
  );
}

/** The newest measurement is at 0, older ones before. */
function chartData(): uPlot.AlignedData {
  const newest = times.at(-1) ?? 0;
  return [times.map((time) => (time - newest) / 1000), ...rates] as uPlot.AlignedData;
}

function showExits(snapshot: Snapshot): void {
  const before = last;
  last = snapshot;
  // After a reset the counts begin anew.
  const seconds = before === undefined ? 0 : (snapshot.time - before.time) / 1000;
  const isAnew = Object.entries(before?.exits ?? {}).some(([reason, count]) => (snapshot.exits[reason] ?? 0) < count);
  if (seconds < 0.2 || isAnew) {
    if (before !== undefined && !isAnew) last = before; // too soon to tell
    return;
  }
  let isNew = chart === undefined;
  for (const reason of Object.keys(snapshot.exits)) {
    if (reasons.includes(reason)) continue;
    reasons.push(reason);
    rates.push(times.map(() => null));
    isNew = true;
  }
  times.push(snapshot.time);
  const now = reasons.map((reason) =>
    Math.max(0, ((snapshot.exits[reason] ?? 0) - (before?.exits[reason] ?? 0)) / seconds),
  );
  rates.forEach((series, i) => series.push(now[i]!));
  if (times.length > KEPT) for (const series of [times, ...rates]) series.shift();
  if (isNew) {
    chart?.destroy();
    chart = newChart();
  } else chart?.setData(chartData());

  const rows = reasons.map((reason, i) => {
    const swatch = document.createElement('span');
    swatch.className = 'swatch';
    swatch.style.background = COLORS[i % COLORS.length]!;
    const head = document.createElement('th');
    head.scope = 'row';
    head.append(swatch, reason);
    const cells = [now[i]!, snapshot.exits[reason] ?? 0].map((value) => {
      const cell = document.createElement('td');
      cell.textContent = Math.round(value).toLocaleString('en');
      return cell;
    });
    const row = document.createElement('tr');
    row.append(head, ...cells);
    return row;
  });
  document.querySelector('#rates tbody')!.replaceChildren(...rows);
}

new ResizeObserver(() => {
  chart?.setSize({ width: byId('chart').clientWidth, height: 220 });
}).observe(byId('chart'));
matchMedia('(prefers-color-scheme: light)').addEventListener('change', () => {
  chart?.destroy();
  chart = newChart();
});

// ---- Processors ----

const shown = new Map<string, string>();

function showProcessors(processors: readonly ProcessorView[]): void {
  const views = processors.map(({ id, state, registers }) => {
    const title = document.createElement('h3');
    const note = document.createElement('span');
    note.textContent = registers.length > 0 ? state : `${state}; pause to see its registers`;
    title.append(`Processor ${id}`, note);
    const list = document.createElement('dl');
    list.className = 'values';
    for (const [name, value] of registers) {
      const term = document.createElement('dt');
      term.textContent = name;
      const description = document.createElement('dd');
      description.textContent = value;
      const key = `${id} ${name}`;
      if (shown.get(key) !== value) description.className = 'changed';
      shown.set(key, value);
      const pair = document.createElement('div');
      pair.append(term, description);
      list.append(pair);
    }
    const view = document.createElement('div');
    view.className = 'processor';
    view.append(title, list);
    return view;
  });
  byId('processors').replaceChildren(...views);
}

// ---- What comes ----

socket.addEventListener('message', ({ data }: MessageEvent<ArrayBuffer | string>) => {
  if (typeof data !== 'string') {
    terminal.write(new Uint8Array(data));
    return;
  }
  const snapshot = JSON.parse(data) as Snapshot;
  byId('machine').textContent = snapshot.machine;
  showState(snapshot.state);
  const text = snapshot.screen.join('\n').trimEnd();
  const screen = byId('screen');
  if (screen.textContent !== text) screen.textContent = text;
  showExits(snapshot);
  showProcessors(snapshot.processors);
});
socket.addEventListener('close', () => {
  showState('ended');
});
