// How fast the software CPU is: millions of instructions per second of small loops in 64-bit mode, the price of an
// exit, and how well two processors go beside each other. The bytes are those of the assembly beside them.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>

#include "test/guest.h"

using namespace nvmm::cpu;

namespace {

// clang-format off
constexpr uint8_t kAlu[] = {
    0xb9, 0x50, 0xc3, 0x00, 0x00, // mov ecx, 50000
    0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
    0xbb, 0x39, 0x30, 0x00, 0x00, // mov ebx, 12345
    // .loop:
    0x01, 0xd8, // add eax, ebx
    0x31, 0xc3, // xor ebx, eax
    0xc1, 0xc0, 0x05, // rol eax, 5
    0x8d, 0x54, 0x58, 0x07, // lea edx, [rax+rbx*2+7]
    0xf7, 0xc2, 0x10, 0x00, 0x00, 0x00, // test edx, 16
    0x74, 0x04, // jz .skip
    0x29, 0xd3, // sub ebx, edx
    0xff, 0xc6, // inc esi
    // .skip:
    0x6b, 0xc0, 0x21, // imul eax, eax, 33
    0xff, 0xc9, // dec ecx
    0x75, 0xe2, // jnz .loop
    0xf4, // hlt
};

constexpr uint8_t kCopy[] = {
    0x41, 0xb9, 0x01, 0x00, 0x00, 0x00, // mov r9d, 1
    // .round:
    0xbe, 0x00, 0x00, 0x20, 0x00, // mov esi, 0x200000
    0xbf, 0x00, 0x00, 0x30, 0x00, // mov edi, 0x300000
    0xb9, 0x00, 0x00, 0x01, 0x00, // mov ecx, 65536
    0x31, 0xc0, // xor eax, eax
    // .loop:
    0x48, 0x8b, 0x16, // mov rdx, [rsi]
    0x48, 0x01, 0xd0, // add rax, rdx
    0x48, 0x89, 0x17, // mov [rdi], rdx
    0x48, 0x83, 0xc6, 0x08, // add rsi, 8
    0x48, 0x83, 0xc7, 0x08, // add rdi, 8
    0xff, 0xc9, // dec ecx
    0x75, 0xeb, // jnz .loop
    0x41, 0xff, 0xc9, // dec r9d
    0x75, 0xd5, // jnz .round
    0xf4, // hlt
};

constexpr uint8_t kSieve[] = {
    0xbf, 0x00, 0x00, 0x20, 0x00, // mov edi, 0x200000
    0xb9, 0x00, 0x00, 0x01, 0x00, // mov ecx, 65536
    // .clear:
    0xc6, 0x44, 0x0f, 0xff, 0x00, // mov byte [rdi+rcx-1], 0
    0xff, 0xc9, // dec ecx
    0x75, 0xf7, // jnz .clear
    0xbb, 0x02, 0x00, 0x00, 0x00, // mov ebx, 2
    0x31, 0xc0, // xor eax, eax
    // .outer:
    0x80, 0x3c, 0x1f, 0x00, // cmp byte [rdi+rbx], 0
    0x75, 0x22, // jne .next
    0xff, 0xc0, // inc eax
    0x48, 0x89, 0xda, // mov rdx, rbx
    0x48, 0x0f, 0xaf, 0xd2, // imul rdx, rdx
    0x48, 0x81, 0xfa, 0x00, 0x00, 0x01, 0x00, // cmp rdx, 65536
    0x73, 0x10, // jae .next
    // .inner:
    0xc6, 0x04, 0x17, 0x01, // mov byte [rdi+rdx], 1
    0x48, 0x01, 0xda, // add rdx, rbx
    0x48, 0x81, 0xfa, 0x00, 0x00, 0x01, 0x00, // cmp rdx, 65536
    0x72, 0xf0, // jb .inner
    // .next:
    0xff, 0xc3, // inc ebx
    0x81, 0xfb, 0x00, 0x00, 0x01, 0x00, // cmp ebx, 65536
    0x72, 0xce, // jb .outer
    0xf4, // hlt
};

constexpr uint8_t kFib[] = {
    0xbc, 0x00, 0x00, 0x18, 0x00, // mov esp, 0x180000
    0xbf, 0x12, 0x00, 0x00, 0x00, // mov edi, 18
    0xe8, 0x01, 0x00, 0x00, 0x00, // call fib
    0xf4, // hlt
    // fib:
    0x83, 0xff, 0x02, // cmp edi, 2
    0x73, 0x03, // jae .rec
    0x89, 0xf8, // mov eax, edi
    0xc3, // ret
    // .rec:
    0x53, // push rbx
    0x57, // push rdi
    0xff, 0xcf, // dec edi
    0xe8, 0xef, 0xff, 0xff, 0xff, // call fib
    0x89, 0xc3, // mov ebx, eax
    0x5f, // pop rdi
    0x83, 0xef, 0x02, // sub edi, 2
    0xe8, 0xe4, 0xff, 0xff, 0xff, // call fib
    0x01, 0xd8, // add eax, ebx
    0x5b, // pop rbx
    0xc3, // ret
};

constexpr uint8_t kRep[] = {
    0xbe, 0x00, 0x00, 0x20, 0x00, // mov esi, 0x200000
    0xbf, 0x00, 0x00, 0x40, 0x00, // mov edi, 0x400000
    0xb9, 0x00, 0x00, 0x02, 0x00, // mov ecx, 0x20000
    0xf3, 0x48, 0xa5, // rep movsq
    0xbf, 0x00, 0x00, 0x40, 0x00, // mov edi, 0x400000
    0xb9, 0x00, 0x00, 0x04, 0x00, // mov ecx, 0x40000
    0xb8, 0x05, 0x00, 0x00, 0x00, // mov eax, 5
    0xf3, 0xab, // rep stosd
    0xbf, 0x00, 0x00, 0x40, 0x00, // mov edi, 0x400000
    0xb9, 0x00, 0x00, 0x10, 0x00, // mov ecx, 0x100000
    0xb0, 0x09, // mov al, 9
    0xf2, 0xae, // repne scasb
    0xf4, // hlt
};

constexpr uint8_t kOut[] = {
    0xe6, 0x80, // .l: out 0x80, al
    0xeb, 0xfc, // jmp .l
};
// clang-format on

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Runs the code to its HLT; seconds of the best of several runs, and the instructions of one.
struct Result {
  double seconds;
  uint64_t instructions;
};

template <size_t kLength>
Result time(const uint8_t (&code)[kLength]) {
  Guest guest(Start::Long);
  guest.load(code, kLength);
  Result best = {1e9, 0};
  for (int i = 0; i < 40; ++i) {
    guest.cpu.state().rip = Guest::kCode;
    uint64_t before = guest.cpu.instructions();
    double start = seconds();
    const Exit& exit = guest.cpu.run(~uint64_t{0});
    best.seconds = std::min(best.seconds, seconds() - start);
    best.instructions = guest.cpu.instructions() - before;
    if (exit.kind != ExitKind::Halt) {
      fprintf(stderr, "exit %u at RIP %#llx\n", static_cast<unsigned>(exit.kind),
              static_cast<unsigned long long>(guest.cpu.state().rip));
      std::exit(1);
    }
  }
  return best;
}

// One OUT and one JMP an exit, as a driver does it: RIP is moved past the OUT.
double nanosecondsPerExit() {
  Guest guest(Start::Long);
  guest.load(kOut, sizeof(kOut));
  constexpr int kExits = 20000;
  double best = 1e9;
  for (int round = 0; round < 40; ++round) {
    double start = seconds();
    for (int i = 0; i < kExits; ++i) {
      const Exit& exit = guest.cpu.run(1000000);
      if (exit.kind != ExitKind::Io) std::exit(1);
      guest.cpu.state().rip = exit.nextRip;
    }
    best = std::min(best, seconds() - start);
  }
  return best / kExits * 1e9;
}

// Processor time of this thread for some rounds of the code at `rip`.
double workSeconds(Cpu& cpu, uint64_t rip) {
  const auto now = [] {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  };
  const double start = now();
  for (int i = 0; i < 10; ++i) {
    cpu.state().rip = rip;
    cpu.run(~uint64_t{0});
  }
  return now() - start;
}

// What two processors over one memory do in the time of one, where their programs share nothing: 2, unless one slows
// the other down. The median of several rounds.
double scalingOfTwo() {
  constexpr uint64_t kOtherCode = 0x3000;
  constexpr size_t kTable = 3;  // the byte of 0x200000 in kSieve that is not 0
  Guest guest(Start::Long);
  Cpu second(guest.memory, model(Vendor::Amd));
  second.state() = guest.cpu.state();
  guest.load(kSieve, sizeof(kSieve));
  guest.load(kSieve, sizeof(kSieve), kOtherCode);
  guest.write<uint8_t>(kOtherCode + kTable, 0x40);
  constexpr int kRounds = 15;
  double scalings[kRounds];
  for (double& scaling : scalings) {
    const double alone = workSeconds(guest.cpu, Guest::kCode) + workSeconds(second, kOtherCode);
    double together = 0;
    std::thread other([&] { together = workSeconds(second, kOtherCode); });
    const double ours = workSeconds(guest.cpu, Guest::kCode);
    other.join();
    scaling = 2 * alone / (ours + together);
  }
  std::nth_element(scalings, scalings + kRounds / 2, scalings + kRounds);
  return scalings[kRounds / 2];
}

}  // namespace

int main() {
  double logarithms = 0;
  int count = 0;
  auto report = [&](const char* name, Result result) {
    double mips = static_cast<double>(result.instructions) / result.seconds / 1e6;
    printf("%-28s %8.1f MIPS\n", name, mips);
    logarithms += std::log(mips);
    ++count;
  };
  report("arithmetic and branches", time(kAlu));
  report("copy and sum", time(kCopy));
  report("sieve", time(kSieve));
  report("recursive calls", time(kFib));
  printf("%-28s %8.1f MIPS\n", "geometric mean", std::exp(logarithms / count));
  constexpr double kBytesOfRep = 3 << 20;
  printf("%-28s %8.1f MB/s\n", "rep movs, stos, scas", kBytesOfRep / time(kRep).seconds / 1e6);
  printf("%-28s %8.1f ns\n", "exit by OUT", nanosecondsPerExit());
  printf("%-28s %8.2f\n", "two processors beside one", scalingOfTwo());
  return 0;
}
