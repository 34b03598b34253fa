#include "vcpu.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "../../abi/netbsd_errno.h"

namespace nvmm::mock {

using namespace abi;

namespace {

// How many instructions a guest executes between two looks at `stop` and kicks: about a millisecond's, since those of
// one guest may cost a hundred times what another's do. A run that ends in its first slice reads no clock.
class Slice {
 public:
  uint64_t instructions() const { return instructions_; }

  // One has ended, and another follows.
  void next() {
    const auto now = Clock::now();
    const auto took = now - begin_;
    if (begin_ != Clock::time_point() && took > kLong) instructions_ = std::max(kLeast, instructions_ / 2);
    if (begin_ == Clock::time_point() || took < kLong / 4) instructions_ = std::min(kMost, instructions_ * 2);
    begin_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr uint64_t kLeast = 1000, kMost = 100000;
  static constexpr std::chrono::milliseconds kLong{2};

  uint64_t instructions_ = 10000;
  Clock::time_point begin_;
};

nvmm_x64_state resetState() {
  constexpr uint16_t kPresent = kAttribP, kCodeOrData = kAttribS;
  constexpr uint16_t kReadWriteAccessed = 3, kReadWrite = 2, kLdt = 2, kBusyTss16 = 3;
  nvmm_x64_state state = {};
  for (auto& segment : state.segs) segment = {0, kPresent | kCodeOrData | kReadWriteAccessed, 0xffff, 0};
  state.segs[NVMM_X64_SEG_CS].selector = 0xf000;
  state.segs[NVMM_X64_SEG_CS].base = 0xffff0000;
  state.segs[NVMM_X64_SEG_GDT].attrib = state.segs[NVMM_X64_SEG_IDT].attrib = kPresent | kCodeOrData | kReadWrite;
  state.segs[NVMM_X64_SEG_LDT].attrib = kPresent | kLdt;
  state.segs[NVMM_X64_SEG_TR].attrib = kPresent | kBusyTss16;
  state.gprs[NVMM_X64_GPR_RDX] = 0x600;  // family 6
  state.gprs[NVMM_X64_GPR_RIP] = 0xfff0;
  state.gprs[NVMM_X64_GPR_RFLAGS] = 2;
  state.crs[NVMM_X64_CR_CR0] = 0x60000010;
  state.crs[NVMM_X64_CR_XCR0] = 1;
  state.drs[NVMM_X64_DR_DR6] = 0xffff0ff0;
  state.drs[NVMM_X64_DR_DR7] = 0x400;
  state.msrs[NVMM_X64_MSR_PAT] = 0x0007040600070406;
  state.fpu.fx_cw = 0x40;
  state.fpu.fx_tw = 0x55;
  state.fpu.fx_zero = 0x55;
  state.fpu.fx_mxcsr = 0x1f80;
  return state;
}

bool meets(const Fault* fault, Fault::Kind kind) { return fault && fault->kind == kind; }

}  // namespace

Vcpu::Vcpu(const Host& host, const Backend::Setup& setup)
    : host_(host),
      stoppable_(host.options.kernelVersion >= kKernelVersion2),
      comm_(setup.comm),
      backend_(Backend::create(setup)) {
  std::memset(static_cast<void*>(&comm_), 0, kPageSize);
  comm_.state = resetState();
  backend_->setState(NVMM_X64_STATE_ALL);
  store(comm_.state_cached, NVMM_X64_STATE_ALL);
  counters_.unknownOpcodes = &backend_->unknownOpcodes();
  host_.statistics.add(counters_);
}

Vcpu::~Vcpu() { host_.statistics.remove(counters_); }

uint64_t Vcpu::takeWanted() {
  const uint64_t wanted = load(comm_.state_wanted);
  store(comm_.state_wanted, uint64_t{0});
  store(comm_.state_cached, load(comm_.state_cached) | wanted);
  return wanted;
}

void Vcpu::setState() { backend_->setState(takeWanted()); }

void Vcpu::getState() { backend_->getState(takeWanted()); }

// Whether the run has to end, and with which reason: a signal precedes `stop`.
bool Vcpu::preempted(const Kicks::Counter& kicks, uint32_t kicked, uint64_t& reason) const {
  if (kicks.load(std::memory_order_relaxed) != kicked) {
    reason = NVMM_VCPU_EXIT_NONE;
    return true;
  }
  if (stoppable_ && load(comm_.stop) != 0) {
    reason = NVMM_VCPU_EXIT_STOPPED;
    return true;
  }
  return false;
}

void Vcpu::commit() {
  backend_->setState(load(comm_.state_commit));
  store(comm_.state_commit, uint64_t{0});
  store(comm_.state_wanted, uint64_t{0});
  store(comm_.state_cached, uint64_t{0});
}

int Vcpu::enterGuest(nvmm_x86_exit& exit, const Kicks::Counter& kicks, uint32_t kicked, const Fault* fault) {
  commit();
  if (loadBool(comm_.event_commit)) {
    storeBool(comm_.event_commit, false);
    if (const int error = backend_->inject()) return error;
  }
  if (meets(fault, Fault::Kind::Exit)) {
    backend_->leaveWith(fault->exit, exit);
    backend_->exitState(exit);
    return netbsd::kOK;
  }
  uint64_t left = host_.options.timeSlice != 0 ? host_.options.timeSlice : ~uint64_t{0};
  uint64_t now = backend_->instructions();
  for (Slice slice;; slice.next()) {
    backend_->enter(std::min(slice.instructions(), left), exit);
    const uint64_t before = std::exchange(now, backend_->instructions());
    left -= std::min(left, now - before + 1);  // an exit costs something, too
    uint64_t reason;
    const bool ordered = meets(fault, Fault::Kind::PreemptAtExit) && exit.reason != NVMM_VCPU_EXIT_NONE;
    if (ordered) reason = fault->exit.reason;
    if (ordered || preempted(kicks, kicked, reason)) {
      // Version 1 keeps what was decoded. A CPUID exit must not be lost either: its leaf is overwritten already.
      if (stoppable_ && exit.reason != NVMM_VCPU_EXIT_CPUID) exit.reason = reason;
      break;
    }
    if (exit.reason != NVMM_VCPU_EXIT_NONE || left == 0) break;
  }
  backend_->exitState(exit);
  counters_.instructions.store(now, std::memory_order_relaxed);
  return netbsd::kOK;
}

// Without calls, as Backend::enter() and Driver::run(): together they take a tenth of an exit.
[[gnu::flatten]] int Vcpu::run(nvmm_x86_exit& exit, const Fault* fault) {
  const Kicks::Counter& kicks = host_.kicks.ofCaller();
  const uint32_t kicked = kicks.load(std::memory_order_relaxed);
  uint64_t reason;
  int error = netbsd::kOK;
  if (meets(fault, Fault::Kind::PreemptAtEntry)) {
    exit.reason = fault->exit.reason;
  } else if (preempted(kicks, kicked, reason)) {
    exit.reason = reason;
  } else {
    error = enterGuest(exit, kicks, kicked, fault);
  }
  if (error == netbsd::kOK) counters_.countExit(exit.reason);
  if (stoppable_) store(comm_.stop, 0);
  return error;
}

}  // namespace nvmm::mock
