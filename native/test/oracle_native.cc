#include "oracle_native.h"

#if defined(__linux__) && defined(__x86_64__)

#include <asm/ldt.h>
#include <cpuid.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace nvmm::oracle {
namespace {

constexpr int kGregs[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
constexpr int kSignals[] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS};
constexpr size_t kFxsaveUsed = 416, kXsaveMagic = 464, kXstateBv = 512;  // in a frame's XSAVE image
constexpr int kHangMilliseconds = 1000;
constexpr unsigned long kRestoreSs = 6;  // UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS: SS as it is in the frame

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::_Exit(2);
}

// The child. It runs a batch inside its signal handler: each delivery brings the outcome of one case, and the return
// from the handler loads the registers of the next. No stack and no assembly of ours is involved, and the handler's
// frame carries everything to be seen: registers, trap number, error code, CR2 and the FXSAVE image.
struct Executor {
  Batch* batch;
  const Memory* initial;
  Memory* memory;  // the pages of the cases at other addresses, always writable
  uint8_t* code;
  bool running;
  mcontext_t home;  // where the handler was entered first
  _libc_fpstate homeFpu;

  void load(const Case& c, ucontext_t& context);
  void record(const Case& c, const ucontext_t& context, Outcome& out);
  void step(ucontext_t& context);
};
Executor executor;

void copyCode(const Case& c, uint8_t* code, bool clear) {
  for (unsigned i = 0; i < c.length && c.rip - kCode + i < kCodeSize; i++)
    code[c.rip - kCode + i] = clear ? 0xcc : c.code[i];
}

void Executor::load(const Case& c, ucontext_t& context) {
  copyCode(c, code, false);
  applyPatch(c, memory->bytes);
  auto& gregs = context.uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) gregs[kGregs[i]] = static_cast<greg_t>(c.gpr[i]);
  gregs[REG_RIP] = static_cast<greg_t>(c.rip - codeBase(c));
  gregs[REG_EFL] = static_cast<greg_t>(c.rflags | (c.singleStep ? cpu::kTF : 0));
  gregs[REG_CSGSFS] = static_cast<greg_t>(c.selector[Seg::CS] | static_cast<uint64_t>(c.selector[Seg::SS]) << 48);
  context.uc_flags |= kRestoreSs;
  uint8_t* xsave = reinterpret_cast<uint8_t*>(context.uc_mcontext.fpregs);
  std::memcpy(xsave, &c.fpu, kFxsaveUsed);
  uint32_t magic;
  std::memcpy(&magic, xsave + kXsaveMagic, sizeof magic);
  if (magic == FP_XSTATE_MAGIC1)
    xsave[kXstateBv] |= 3;  // else x87 and SSE would be taken for being in their initial state
  asm volatile("mov %0, %%ds\n mov %1, %%es\n mov %2, %%gs" ::"r"(c.selector[Seg::DS]), "r"(c.selector[Seg::ES]),
               "r"(c.selector[Seg::GS]));
}

void Executor::record(const Case& c, const ucontext_t& context, Outcome& out) {
  copyCode(c, code, true);
  const auto& gregs = context.uc_mcontext.gregs;
  for (int i = 0; i < 16; i++) out.gpr[i] = static_cast<uint64_t>(gregs[kGregs[i]]);
  out.rip = static_cast<uint64_t>(gregs[REG_RIP]);
  out.rflags = static_cast<uint64_t>(gregs[REG_EFL]);
  out.vector = static_cast<uint16_t>(gregs[REG_TRAPNO]);
  out.error = static_cast<uint32_t>(gregs[REG_ERR]);
  out.cr2 = static_cast<uint64_t>(gregs[REG_CR2]);
  out.selector[Seg::CS] = static_cast<uint16_t>(gregs[REG_CSGSFS]);
  out.selector[Seg::SS] = static_cast<uint16_t>(static_cast<uint64_t>(gregs[REG_CSGSFS]) >> 48);
  std::memcpy(&out.fpu, context.uc_mcontext.fpregs, sizeof out.fpu);
  uint16_t ds, es, fs, gs;
  asm volatile("mov %%ds, %0\n mov %%es, %1\n mov %%fs, %2\n mov %%gs, %3" : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
  out.selector[Seg::DS] = ds;
  out.selector[Seg::ES] = es;
  out.selector[Seg::FS] = fs;
  out.selector[Seg::GS] = gs;
  out.memoryChanged = std::memcmp(memory, initial, sizeof(Memory)) != 0;
  if (out.memoryChanged) {
    out.memory = *memory;
    *memory = *initial;
  }
}

void Executor::step(ucontext_t& context) {
  uint32_t done = batch->done.load(std::memory_order_relaxed);
  if (running) {
    record(batch->cases[done], context, batch->outcomes[done]);
    batch->done.store(++done, std::memory_order_release);
  } else {
    running = true;
    home = context.uc_mcontext;
    homeFpu = *context.uc_mcontext.fpregs;
  }
  if (done < batch->count) return load(batch->cases[done], context);
  running = false;
  std::memcpy(context.uc_mcontext.gregs, home.gregs, sizeof home.gregs);
  *context.uc_mcontext.fpregs = homeFpu;
}

void onSignal(int, siginfo_t*, void* context) {
  // The kernel leaves the flags of the case (AC, NT ...) in place; AC would make this very code fault.
  asm volatile("lea -128(%%rsp), %%rsp\n push $2\n popf\n lea 128(%%rsp), %%rsp" ::: "memory", "cc");
  executor.step(*static_cast<ucontext_t*>(context));
}

void* mapShared(int fd, uint64_t offset, uint64_t address, uint64_t size, int protection) {
  int flags = MAP_SHARED | MAP_POPULATE | (address ? MAP_FIXED : 0);
  void* p = mmap(reinterpret_cast<void*>(address), size, protection, flags, fd, static_cast<off_t>(offset));
  if (p == MAP_FAILED) fail("oracle: mmap");
  return p;
}

[[noreturn]] void runChild(Batch* batch, const Memory& initial, int channel) {
  // Nothing else below 4 GiB: no code of this program is there (unavailable() has looked), but perhaps the low end of
  // a sanitizer's shadow, which describes nothing but these addresses.
  munmap(reinterpret_cast<void*>(0x10000), 0x100000000 - 0x10000);
  int fd = memfd_create("oracle", 0);
  if (fd < 0 || ftruncate(fd, kCodeSize + sizeof(Memory)) != 0) fail("oracle: memfd_create");
  auto* pages = static_cast<uint8_t*>(mapShared(fd, 0, 0, kCodeSize + sizeof(Memory), PROT_READ | PROT_WRITE));
  executor.batch = batch;
  executor.initial = &initial;
  executor.code = pages;
  executor.memory = reinterpret_cast<Memory*>(pages + kCodeSize);
  std::memset(executor.code, 0xcc, kCodeSize);
  *executor.memory = initial;
  mapShared(fd, 0, kCode, kCodeSize, PROT_READ | PROT_EXEC);
  mapShared(fd, kCodeSize, kData, kPage, PROT_READ);
  mapShared(fd, kCodeSize + kPage, kData + kPage, kDataSize - kPage, PROT_READ | PROT_WRITE);
  mapShared(fd, kCodeSize + kDataSize, kStack, kStackSize, PROT_READ | PROT_WRITE);

  constexpr size_t kSignalStack = 1 << 17;
  stack_t stack = {};
  stack.ss_sp = std::malloc(kSignalStack);
  stack.ss_size = kSignalStack;
  sigaltstack(&stack, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = onSignal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int signal : kSignals) sigaction(signal, &action, nullptr);

  char byte;
  while (read(channel, &byte, 1) == 1) {
    if (batch->done < batch->count) asm volatile("int3" ::: "memory");
    asm volatile("mov %0, %%ds\n mov %0, %%es\n mov %0, %%gs" ::"r"(0));
    if (write(channel, &byte, 1) != 1) break;
  }
  _exit(0);
}

// The table belongs to the process and is copied by fork().
bool installLocalSegments() {
  unsigned index = 0;
  for (const LocalSegment& s : kLocalSegments) {
    user_desc d = {};
    d.entry_number = index++;
    d.base_addr = s.base;
    d.limit = s.limit;
    d.seg_32bit = s.big;
    d.contents = s.type >> 2 & 3;
    d.read_exec_only = !(s.type & 2);
    d.seg_not_present = !s.present;
    d.useable = 1;
    if (syscall(SYS_modify_ldt, 0x11, &d, sizeof d) != 0) return false;
  }
  return true;
}

}  // namespace

const char* Native::unavailable() {
  if (reinterpret_cast<uintptr_t>(&fail) < 0x100000000) return "this executable is not position-independent";
  uint16_t cs, ss;
  asm("mov %%cs, %0\n mov %%ss, %1" : "=r"(cs), "=r"(ss));
  if (cs != kCode64 || ss != kData32) return "unknown selectors";
  return nullptr;
}

Native::Native(const Memory& initial) : initial_(initial), hasLocalSegments_(installLocalSegments()) {
  void* p = mmap(nullptr, sizeof(Batch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) fail("oracle: mmap");
  batch_ = new (p) Batch;
  spawn();
}

Native::~Native() {
  reap();
  munmap(batch_, sizeof(Batch));
}

void Native::spawn() {
  int channels[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channels) != 0) fail("oracle: socketpair");
  child_ = fork();
  if (child_ < 0) fail("oracle: fork");
  if (child_ == 0) {
    close(channels[0]);
    runChild(batch_, initial_, channels[1]);
  }
  close(channels[1]);
  channel_ = channels[0];
}

void Native::reap() {
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
  close(channel_);
}

void Native::start() {
  batch_->done = 0;
  if (send(channel_, "g", 1, MSG_NOSIGNAL) != 1) fail("oracle: send");
}

void Native::wait() {
  for (;;) {
    uint32_t before = batch_->done;
    pollfd p = {channel_, POLLIN, 0};
    int ready = poll(&p, 1, kHangMilliseconds);
    char byte;
    if (ready > 0 && recv(channel_, &byte, 1, 0) == 1) return;
    if (ready == 0 && batch_->done != before) continue;  // slow, but alive
    reap();
    spawn();
    if (batch_->done < batch_->count) batch_->outcomes[batch_->done++].vector = kNoVector;
    if (send(channel_, "g", 1, MSG_NOSIGNAL) != 1) fail("oracle: send");
  }
}

uint64_t hostComponents() {
  constexpr unsigned kOsxsave = 1 << 27;
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & kOsxsave)) return 0;
  asm("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return eax | static_cast<uint64_t>(edx) << 32;
}

bool describeSelector(uint16_t selector, uint32_t& rights, uint32_t& limit) {
  bool known;
  asm("lar %2, %0\n setz %1" : "=r"(rights), "=qm"(known) : "r"(static_cast<uint32_t>(selector)) : "cc");
  if (known) asm("lsl %1, %0" : "=r"(limit) : "r"(static_cast<uint32_t>(selector)) : "cc");
  return known;
}

}  // namespace nvmm::oracle

#else

namespace nvmm::oracle {

const char* Native::unavailable() { return "needs Linux on x86-64"; }
Native::Native(const Memory& initial) : initial_(initial) {}
Native::~Native() = default;
void Native::start() {}
void Native::wait() {}
uint64_t hostComponents() { return 0; }
bool describeSelector(uint16_t, uint32_t&, uint32_t&) { return false; }

}  // namespace nvmm::oracle

#endif
