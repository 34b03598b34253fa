// The run loop: entry, the boundaries between instructions, finding the next block, exit.
#include "cpu.h"

#include <algorithm>
#include <cstring>

#include "core.h"
#include "decode.h"
#include "handlers.h"

namespace nvmm::cpu {

// ---- Derived state ----

void Core::updateSegment(unsigned seg) {
  const Segment& s = state.seg[seg];
  SegmentWindow& w = window[seg];
  if (code64()) {
    w = {seg >= FS ? s.base : 0, ~uint64_t{0}, ~uint64_t{0}};
    return;
  }
  constexpr uint64_t k4G = uint64_t{1} << 32;
  uint64_t base = s.base & (k4G - 1);
  // Where base + offset would wrap, or the segment expands down, each access is checked.
  uint64_t end = std::min(uint64_t{s.limit} + 1, k4G - base);
  bool code = s.type() & 8, readable = !code || s.type() & 2, writable = !code && s.type() & 2;
  if (!(mode & kModeProtected)) readable = writable = true;
  if (!s.present() || (!code && s.type() & 4)) end = 0;
  w = {base, readable ? end : 0, writable ? end : 0};
}

void Core::updateSegments() {
  for (unsigned seg = 0; seg < 6; ++seg) updateSegment(seg);
}

void Core::updateMode() {
  const Segment &cs = state.seg[CS], &ss = state.seg[SS];
  const bool was64 = code64(), wasProtected = mode & kModeProtected;
  bool is64 = longMode() && cs.longMode();
  uint8_t code = is64 ? 2 : cs.big() ? 1 : 0;
  bool user = state.cpl == 3;
  mode = static_cast<uint8_t>(code | (protectedMode() && !v86() ? kModeProtected : 0) | (user ? kModeUser : 0));
  ripMask = is64 ? ~uint64_t{0} : 0xffffffff;
  stackMask = is64 ? ~uint64_t{0} : ss.big() ? 0xffffffff : 0xffff;
  uint64_t limit = is64 ? ~uint64_t{0} : cs.limit, base = window[CS].base;
  if (is64 != was64 || static_cast<bool>(mode & kModeProtected) != wasProtected) {
    updateSegments();
  } else {
    updateSegment(CS);
    updateSegment(SS);
  }
  if (codeLimit != limit || window[CS].base != base) translationChanged();
  codeLimit = limit;
  bool aligning = user && state.rflags & kAC && state.cr0 & kAM;
  tlb = &tlbs[aligning || breakpointsEnabled() ? kNoTlb : user ? kUserTlb : kSupervisorTlb];
}

// ---- Entry and exit ----

Core::Core(PhysicalMemory& memory, const Model& model) : memory(memory), model(model) {
  jumpCache.fill(BlockCache::none());
  updateMode();
  updateSegments();
}

namespace {

// memcmp() would be called for it.
bool same(const Segment (&a)[6], const Segment (&b)[6]) {
  uint64_t difference = 0;
  for (unsigned i = 0; i < 6; ++i) {
    uint64_t words[4];
    memcpy(words, &a[i], sizeof(Segment));
    memcpy(words + 2, &b[i], sizeof(Segment));
    difference |= (words[0] ^ words[2]) | (words[1] ^ words[3]);
  }
  return difference == 0;
}

}  // namespace

// The hypervisor may have changed anything since the last run; guest memory too.
void Core::enter() {
  state.gpr[kNoRegister] = 0;
  flags.set(state.rflags);
  serialize();
  unlinked = nullptr;
  outcome = Outcome::Continue;
  constexpr uint64_t kModeFlags = kVM | kAC;
  bool translation = state.cr0 != entered_.cr0 || state.cr3 != entered_.cr3 || state.cr4 != entered_.cr4 ||
                     state.efer != entered_.efer;
  bool changed = translation || state.dr7 != entered_.dr7 || state.cpl != entered_.cpl ||
                 (state.rflags ^ entered_.rflags) & kModeFlags || !same(state.seg, entered_.seg);
  if (translation) flushTlb();
  if (changed) updateMode(), updateSegments();
}

bool Core::deliverInjected() {
  Event event = controls.inject;
  controls.inject = {};
  if (event.kind == EventKind::None) return true;
  ++retired;
  return deliver(event);
}

namespace {

// Nothing but an entry has come between: neither the translation has changed since the block was looked at, nor have
// its bytes. Stamps that are not an epoch's, too, each stand for a change of the translation.
bool unchanged(const Core& core, const Block& block) {
  return block.host && !block.host2 && block.stamp - block.epoch == core.stamp - core.epoch &&
         sameHost(block.bytes, block.host, block.length);
}

// The block that was last at this RIP, if it still holds: what most entries find. Else null.
Block* lastBlock(Core& core) {
  Block* last = core.jumpCache[Core::jumpIndex(core.state.rip)];
  if (last->rip != core.state.rip || last->mode != core.mode) return nullptr;
  if (last->stamp != core.stamp) {
    if (!unchanged(core, *last)) return nullptr;
    last->stamp = core.stamp;
    last->epoch = core.epoch;
  }
  return last;
}

}  // namespace

const Exit& Core::run(uint64_t budget) {
  limit_ = retired + std::min(budget, ~uint64_t{0} - retired);
  deadline.store(limit_, std::memory_order_relaxed);
  running_.store(true);
  if (interruptRequested_.load() || flushRequested_.load()) deadline.store(0);
  if (flushRequested_.load()) honourFlush();  // before anything looks at memory
  const bool accepted = checkEntry();
  if (accepted) {
    enter();
    for (bool inside = deliverInjected(); inside && boundary();) {
      bool single = state.interruptShadow || state.rflags & (kTF | kRF) || breakpointsEnabled();
      Block* found = single ? nullptr : lastBlock(*this);
      if (!found && (!breakpointsEnabled() || checkInstructionBreakpoint())) found = findBlock(single);
      if (!found) {
        block = nullptr;
        unlinked = nullptr;  // it has led to a fault
      } else {
        if (unlinked) {
          if (found->rip == unlinked->imm && found->mode == block->mode) unlinked->link = found;
          unlinked = nullptr;
        }
        block = found;
        bool resumed = state.rflags & kRF;
        stepTrap = state.rflags & kTF;
        shadowBegun = rfLoaded = false;
        for (const Insn* insn = found->insns; insn;) insn = insn->handler(*this, insn);
        if (single && outcome == Outcome::Continue) afterSingle(resumed);
      }
      if (outcome != Outcome::Continue && !settle()) break;
    }
  }
  if (accepted) {
    state.rflags = rflags();
    memcpy(entered_.seg, state.seg, sizeof(state.seg));
    entered_.cr0 = state.cr0;
    entered_.cr3 = state.cr3;
    entered_.cr4 = state.cr4;
    entered_.efer = state.efer;
    entered_.dr7 = state.dr7;
    entered_.rflags = state.rflags;
    entered_.cpl = state.cpl;
  }
  running_.store(false, std::memory_order_release);
  if (flushRequested_.load()) honourFlush();
  return exit;
}

// Between two instructions. False: an exit is recorded.
bool Core::boundary() {
  if (__builtin_expect(pendingDebug && !debugHeld_, false)) {
    unlinked = nullptr;
    if (!deliverDebugTrap()) return false;
  }
  if (!state.interruptShadow) {
    if (controls.nmiWindow && !state.nmiBlocked) return leaveWith(ExitKind::NmiWindow);
    if (controls.interruptWindow && state.rflags & kIF) return leaveWith(ExitKind::InterruptWindow);
  }
  if (__builtin_expect(retired >= deadline.load(std::memory_order_relaxed), false)) {
    deadline.store(limit_);
    if (flushRequested_.load()) honourFlush();
    if (interruptRequested_.exchange(false) || retired >= limit_) return leaveWith(ExitKind::Budget);
  }
  return true;
}

// After one instruction that completed, or an iteration of it. `resumed`: RF was set before it.
void Core::afterSingle(bool resumed) {
  bool begun = shadowBegun;
  if (!begun) state.interruptShadow = false;
  debugHeld_ = begun && !state.shadowOfSti;
  if (resumed && !rfLoaded) state.rflags &= ~kRF;
  if (!stepTrap) return;
  constexpr uint64_t kSingleStep = 1 << 14;
  pendingDebug |= kSingleStep;
  // Between two iterations of a string instruction Intel's processors push RF set. A branch to itself may have a
  // prefix, too.
  const Insn& insn = *block->insns;
  if (!amd() && insn.repeat && (insn.opcode & 0xf0) == 0xa0 && state.rip == block->rip) state.rflags |= kRF;
}

// What the handler that stopped has recorded. False: it is an exit.
bool Core::settle() {
  if (outcome == Outcome::Exception) {
    outcome = Outcome::Continue;
    ++retired;  // so that a handler that faults at once does not outlast the budget
    debugHeld_ = false;
    return deliverException();
  }
  if (exit.kind == ExitKind::Memory && wantInstructionBytes && block && block->host) fillInstructionBytes();
  return false;
}

// As many as there are without leaving the page: the processor had fetched them.
void Core::fillInstructionBytes() {
  const uint8_t* at = block->host + (state.rip - block->rip);
  unsigned inPage = 0x1000 - (reinterpret_cast<uintptr_t>(at) & 0xfff);
  unsigned length = std::min<unsigned>(inPage, sizeof(exit.memory.bytes));
  loadHost(exit.memory.bytes, at, length);
  exit.memory.length = static_cast<uint8_t>(length);
}

// ---- Blocks ----

Block* Core::findBlock(bool single) {
  uint8_t wanted = single ? mode | kModeSingle : mode;
  Block*& cached = jumpCache[jumpIndex(state.rip)];
  if (!reachable(state.rip)) {
    raise(vector::GP, 0);
    return nullptr;
  }
  uint64_t linear = code64() ? state.rip : static_cast<uint32_t>(window[CS].base + state.rip);
  const uint8_t* page = fetchPage(linear);
  if (!page) return nullptr;
  const uint8_t* host = page + (linear & 0xfff);
  // Most are found again where they were before translations or bytes could have changed.
  Block* found = unlinked ? unlinked->link : cached;
  if (!found->is(state.rip, host, wanted)) found = blocks.find(state.rip, host, wanted);
  if (found && !usable(found, linear, host)) {
    blocks.remove(found);
    found = nullptr;
  }
  if (outcome != Outcome::Continue) return nullptr;
  if (!found) found = decodeBlock(linear, host, wanted);
  if (!found) return nullptr;
  found->stamp = stamp;
  found->epoch = epoch;
  if (!single) cached = found;
  return found;
}

// Are its bytes still the same, and within the limit? If the second page of an instruction can't be had, that is
// recorded.
bool Core::usable(Block* block, uint64_t linear, const uint8_t* host) {
  if (!code64() && block->rip + block->length - 1 > codeLimit) return false;
  bool compare = block->epoch != epoch;
  if (compare && !sameHost(block->bytes, host, block->firstBytes)) return false;
  unsigned rest = block->length - block->firstBytes;
  if (rest == 0) return true;
  linear += block->firstBytes;
  const uint8_t* host2 = fetchPage(code64() ? linear : static_cast<uint32_t>(linear));
  return host2 == block->host2 && host2 && (!compare || sameHost(block->bytes + block->firstBytes, host2, rest));
}

Block* Core::decodeBlock(uint64_t linear, const uint8_t* host, uint8_t blockMode) {
  constexpr unsigned kMaxInsns = 32;
  Insn insns[kMaxInsns + 1];
  CodeBytes bytes(*this, linear, host);
  unsigned count = 0, length = 0, most = blockMode & kModeSingle ? 1 : kMaxInsns;
  for (bool ends = false; !ends && count < most && length < bytes.firstBytes(); ++count) {
    Insn& insn = insns[count];
    // Only the first may reach into the next page, and fault: the others wait for their turn.
    if (!decode(*this, bytes, length, count == 0, insn, ends)) break;
    insn.number = static_cast<uint8_t>(count);
    length += insn.length;
  }
  if (count == 0) return nullptr;
  Insn& last = insns[count];
  last = {};
  last.handler = endOfBlock;
  last.offset = static_cast<uint16_t>(length);
  last.number = static_cast<uint8_t>(count);
  last.imm = (state.rip + length) & ripMask;
  last.link = BlockCache::none();

  uint8_t copy[kMaxInsns * 15];
  Block block{};
  block.rip = state.rip;
  block.host = host;
  block.mode = blockMode;
  block.count = static_cast<uint8_t>(count);
  block.length = static_cast<uint16_t>(length);
  block.firstBytes = static_cast<uint16_t>(std::min(length, bytes.firstBytes()));
  block.host2 = length > bytes.firstBytes() ? bytes.host2() : nullptr;
  block.insns = insns;
  block.bytes = copy;
  loadHost(copy, host, block.firstBytes);
  if (block.host2) loadHost(copy + block.firstBytes, block.host2, length - block.firstBytes);
  forgetWritable(host);
  if (block.host2) forgetWritable(block.host2);
  Block* added = blocks.add(block);
  if (!added) {
    blocks.clear();
    jumpCache.fill(BlockCache::none());
    unlinked = nullptr;
    added = blocks.add(block);
  }
  return added;
}

// From now on stores to this page must be noticed.
void Core::forgetWritable(const uint8_t* host) {
  if (blocks.holdsCode(host)) return;
  const uint8_t* page = host - (reinterpret_cast<uintptr_t>(host) & 0xfff);
  for (Tlb& each : tlbs) {
    for (TlbEntry& entry : each.write) {
      if (entry.host == page) entry = {};
    }
  }
}

const Insn* jumpUnlinked(Core& core, const Insn* insn) {
  if (!core.reachable(insn->imm)) return fault(core, insn, vector::GP, 0);
  if (!(core.block->mode & kModeSingle)) core.unlinked = const_cast<Insn*>(insn);
  return leaveTo(core, insn, insn->imm);
}

// ---- From other threads ----

// In the CPU's thread: what was got from PhysicalMemory is forgotten.
void Core::honourFlush() {
  std::lock_guard<std::mutex> guard(flushMutex_);
  flushTlb();
  serialize();
  flushRequested_.store(false);
  flushed_.notify_all();
}

Cpu::Cpu(PhysicalMemory& memory, const Model& model)
    : core_(new Core(memory, model)), state_(core_->state), controls_(core_->controls), retired_(core_->retired) {}
Cpu::~Cpu() = default;
const Exit& Cpu::run(uint64_t budget) { return core_->run(budget); }
const UnknownOpcodes& Cpu::unknownOpcodes() const { return core_->unknownOpcodes; }
uint64_t Cpu::clock() const { return core_->controls.realTime ? Core::nanoseconds() : core_->retired; }

void Cpu::interrupt() {
  core_->interruptRequested_.store(true);
  core_->deadline.store(0);
}

void Cpu::flushMemory() {
  std::unique_lock<std::mutex> guard(core_->flushMutex_);
  core_->flushRequested_.store(true);
  core_->deadline.store(0);
  // A run that is just ending may pass the request by, and does not wait to see it: who asks looks again.
  const auto done = [&] { return !core_->flushRequested_.load() || !core_->running_.load(); };
  while (!core_->flushed_.wait_for(guard, std::chrono::milliseconds(1), done)) {
  }
}

}  // namespace nvmm::cpu
