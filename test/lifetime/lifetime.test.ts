// Ends of life in every order: each case in a process of its own, which must neither crash nor hang nor complain.
import { expect } from 'chai';
import { node, snippet } from '../support/child.js';

const CODE = {
  spin: "bytes('ebfe')",
  outLoop: "bytes('e610 ebfc')",
};

const cases: Record<string, string> = {
  'the process ends with everything open': `
    const { vcpu } = realMode(machine, ${CODE.outLoop});
    runOn(vcpu);
    console.log('done');`,

  'the process exits while a VCPU runs on its thread': `
    const { vcpu } = realMode(machine, ${CODE.spin});
    vcpu.runAsync();
    setTimeout(() => { console.log('done'); process.exit(0); }, 50);`,

  'the process exits in the same turn in which a run began': `
    realMode(machine, ${CODE.spin}).vcpu.runAsync();
    console.log('done');
    process.exit(0);`,

  'handles are collected in any state': `
    for (let round = 0; round < 50; round++) {
      const own = openNvmm({ device: createMock() });
      const { vcpu, memory } = realMode(own.createMachine(), ${CODE.outLoop});
      runOn(vcpu);
      if (round % 2 === 0) vcpu.destroy();
      if (round % 3 === 0) memory.free();
      if (round % 5 === 0) own.close();
      if (round % 10 === 0) { gc(); await new Promise(setImmediate); }
    }
    gc();
    console.log('done');`,

  'the registers outlive every handle': `
    let state = (() => realMode(openNvmm({ device: createMock() }).createMachine(), ${CODE.outLoop}).vcpu.state)();
    for (let i = 0; i < 10; i++) { gc(); await new Promise(setImmediate); }
    state.gprs[0] = 5n;
    if (state.gprs[0] !== 5n) throw new Error('lost');
    console.log('done');`,

  'the memory outlives every handle': `
    let view = (() => openNvmm({ device: createMock() }).createMachine().allocate(8192).view(4096, 16))();
    for (let i = 0; i < 10; i++) { gc(); await new Promise(setImmediate); }
    view[3] = 7;
    if (view[3] !== 7) throw new Error('lost');
    console.log('done');`,

  'a VCPU nobody holds finishes its run': `
    let reasons = [];
    const run = (vcpu) => vcpu.runAsync().then((reason) => (reason === ExitReason.NONE ? run(vcpu) : reasons.push(reason)));
    for (let i = 0; i < 20; i++) run(realMode(nvmm.createMachine(), bytes('f4')).vcpu);
    while (reasons.length < 20) { gc(); await new Promise(setImmediate); }
    if (reasons.some((reason) => reason !== ExitReason.HALTED)) throw new Error(String(reasons));
    console.log('done');`,

  'an uncaught exception ends a process whose VCPUs run': `
    realMode(machine, ${CODE.spin}).vcpu.runAsync();
    process.on('uncaughtException', (error) => { console.log(error === null ? 'done' : error); process.exit(0); });
    setImmediate(() => { throw null; });`,

  'a callback that throws null leaves the VCPU usable': `
    const { vcpu } = realMode(machine, ${CODE.outLoop});
    process.on('unhandledRejection', (reason) => {
      if (reason !== null || runOn(vcpu) !== ExitReason.IO) throw new Error('wrong');
      console.log('done');
    });
    vcpu.runAsync().then(() => { throw null; });`,

  'the process exits at each stage of a request on its own thread': `
    const { vcpu } = realMode(machine, ${CODE.spin});
    vcpu.runAsync();
    for (let i = 0; i < 5; i++) nvmm.createMachineAsync();
    nvmm.listMachinesAsync();
    nvmm.closeAsync();
    console.log('done');
    process.exit(0);`,

  'the process exits while writes are collected': `
    const { vcpu } = realMode(machine, ${CODE.outLoop});
    let batches = 0;
    const deliver = () => { if (++batches === 3) { console.log('done'); process.exit(0); } };
    vcpu.configureCoalescing({ ports: [{ first: 0, last: 255 }], capacity: 16, deliver });
    for (;;) await vcpu.runAsync();`,

  'an iteration is left, and everything collected': `
    const iterate = async () => {
      const { vcpu } = realMode(nvmm.createMachine(), ${CODE.outLoop});
      for await (const exit of vcpu.exits()) if (exit.io.port === 0x10) return;
    };
    for (let i = 0; i < 20; i++) { await iterate(); gc(); }
    console.log('done');`,

  'Workers that share a machine are terminated while they run it': `
    const { Worker } = await import('node:worker_threads');
    realMode(machine, ${CODE.spin});
    for (let round = 0; round < 4; round++) {
      const count = new Int32Array(new SharedArrayBuffer(4));
      const worker = new Worker('./dist/test/lifetime/stops-worker.js', {
        execArgv: [], workerData: { machine: machine.share(), id: 0, count: count.buffer } });
      // The run that the end of the machine ends may report so before the Worker is terminated.
      worker.on('error', (error) => { if (round < 3 || !error.message.includes('ENOENT')) throw error; });
      await new Promise((resolve) => worker.once('online', resolve));
      const vcpu = machine.attachVcpu(0);
      if (round > 0) while (!vcpu.running) await new Promise(setImmediate);
      if (round === 3) machine.destroy();
      await worker.terminate();
      if (round === 1) { gc(); await new Promise(setImmediate); }
      if (round < 3 && vcpu.running) throw new Error('still running');
    }
    console.log('done');`,

  'Workers are terminated while requests are under way on threads of their own': `
    const { Worker } = await import('node:worker_threads');
    for (let round = 0; round < 10; round++) {
      const worker = new Worker('./dist/test/lifetime/requests-worker.js', { execArgv: [] });
      await new Promise((resolve) => worker.once('message', resolve));
      for (let turn = 0; turn < round; turn++) await new Promise(setImmediate);
      await worker.terminate();
    }
    console.log('done');`,

  'a VCPU is destroyed after another thread has begun to destroy its machine': `
    const { loadNative } = await import('./dist/lib/native.js');
    const { MockSystem } = await import('./dist/lib/mock-system.js');
    const system = new MockSystem(loadNative('nvmm_raw').withStuckRuns(createMock().handle), 2);
    const stuck = openNvmm({ device: system }).createMachine();
    const { vcpu } = realMode(stuck, ${CODE.spin});
    const other = stuck.createVcpu(1);
    vcpu.runAsync();
    while (vcpu.exit.reason !== ExitReason.SHUTDOWN) await new Promise(setImmediate);
    stuck.destroyAsync();
    while (!vcpu.destroyed) await new Promise(setImmediate); // that thread waits for its run, and comes to the other one later
    other.destroy();
    console.log('done');
    process.exit(0);`,

  'close() waits for a destruction that is under way': `
    const { loadNative } = await import('./dist/lib/native.js');
    const { MockSystem } = await import('./dist/lib/mock-system.js');
    const system = new MockSystem(loadNative('nvmm_raw').withStuckRuns(createMock().handle), 2);
    const closing = openNvmm({ device: system });
    const stuck = closing.createMachine();
    const { vcpu } = realMode(stuck, ${CODE.spin});
    vcpu.runAsync();
    while (vcpu.exit.reason !== ExitReason.SHUTDOWN) await new Promise(setImmediate);
    stuck.destroyAsync();
    while (!vcpu.destroyed) await new Promise(setImmediate);
    closing.closeAsync().then(() => { throw new Error('closed under a VCPU that runs'); });
    for (let i = 0; i < 20; i++) await openNvmm({ device: system }).closeAsync();
    console.log('done');
    process.exit(0);`,

  'no machine is made of a device that is being closed': `
    const own = openNvmm({ device: createMock() });
    const early = own.createMachineAsync();
    const closed = own.closeAsync();
    for (const make of [() => own.createMachine(), () => own.createMachineAsync()]) {
      const error = await (async () => make())().catch((error) => error);
      if (error.code !== 'EBADF') throw error;
    }
    await closed;
    const made = await early.catch((error) => error);
    if (made.code !== 'EBADF' && !made.destroyed) throw new Error('left behind');
    console.log('done');`,

  'memory that a byte stream has taken into another buffer outlives free()': `
    const memory = machine.allocate(8192);
    const source = { type: 'bytes', pull({ byobRequest }) { byobRequest.view[0] = 7; byobRequest.respond(4096); } };
    const { value } = await new ReadableStream(source).getReader({ mode: 'byob' }).read(memory.view(0, 4096));
    memory.free();
    if (value[0] !== 7) throw new Error('lost');
    console.log('done');`,

  'a request that waits for another process is helped by VCPUs that come later': `
    const { loadNative } = await import('./dist/lib/native.js');
    const raw = loadNative('nvmm_raw');
    const FD = 3; // of the first open
    const [VCPU_CREATE, VCPU_RUN] = [0x80084e04n, 0xc0484e0an];
    const system = createMock();
    const own = openNvmm({ device: system });
    const [foreign, later] = [own.createMachine(), own.createMachine()];
    for (const each of [foreign, later]) {
      const memory = each.allocate(0x10000);
      memory.bytes.set(${CODE.spin}, 0xfff0);
      each.mapGpa(memory, 0xffff0000);
    }
    // Requests past the addon: those of another process.
    const argument = raw.allocate(4096n, 3);
    raw.store(argument, new Uint8Array(80));
    if (raw.ioctl(system.handle, FD, VCPU_CREATE, argument) !== 0) throw new Error('no VCPU');
    const run = raw.beginIoctl(system.handle, FD, VCPU_RUN, argument);
    while (!raw.begun(run)) await new Promise(setImmediate);
    const created = own.createMachineAsync(); // waits for that VCPU
    await new Promise((resolve) => setTimeout(resolve, 50)); // nothing tells when it waits
    const vcpu = later.createVcpu(0);
    const running = (async () => { for (;;) await vcpu.runAsync(); })().catch(() => undefined);
    while (raw.wait(run, 1) === undefined) raw.kick(run);
    await created; // waits for the other one, now
    own.close();
    await running;
    console.log('done');`,

  'an environment that ends does not wait for ever for a run that nothing ends': `
    const { Worker } = await import('node:worker_threads');
    const { loadNative } = await import('./dist/lib/native.js');
    const { MockSystem } = await import('./dist/lib/mock-system.js');
    const system = new MockSystem(loadNative('nvmm_raw').withStuckRuns(createMock().handle), 2);
    const stuck = openNvmm({ device: system }).createMachine();
    const isStuck = async (vcpu) => { while (vcpu.exit.reason !== ExitReason.SHUTDOWN) await new Promise(setImmediate); };
    const { vcpu } = realMode(stuck, ${CODE.spin});
    const worker = new Worker('./dist/test/lifetime/asynchronous-worker.js', {
      execArgv: [], workerData: { machine: stuck.share(), id: 0 } });
    await isStuck(vcpu);
    await worker.terminate();
    if (!vcpu.running) throw new Error('not stuck');
    const other = stuck.createVcpu(1);
    other.runAsync();
    await isStuck(other);
    console.log('done');
    process.exit(0);`,

  'Workers load the addon, run, and are terminated while a VCPU runs': `
    const { Worker } = await import('node:worker_threads');
    const workers = Array.from({ length: 4 }, () => new Worker('./dist/test/lifetime/spinning-worker.js', { execArgv: [] }));
    await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once('message', resolve))));
    const codes = await Promise.all(workers.map((worker) => worker.terminate()));
    console.log(codes.every((code) => code === 1) ? 'done' : codes);`,
};

describe('lifetime', () => {
  for (const [name, text] of Object.entries(cases)) {
    it(name, async () => {
      const ended = await snippet(text, ['--expose-gc']);
      expect(ended).to.deep.include({ status: 0, signal: null, stderr: '' });
      expect(ended.stdout.trim()).to.equal('done');
    });
  }

  it('survives a small part of the campaigns: npm run test:lifetime has them whole', async () => {
    const size = ['--cycles', '200', '--stops', '600', '--calls', '2000'];
    const ended = await node(['--expose-gc', 'dist/test/lifetime/campaign.js', ...size]);
    expect(ended, ended.stdout).to.deep.include({ status: 0, signal: null, stderr: '' });
  });
});
