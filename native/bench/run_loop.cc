// The C++ baseline of `npm run bench:run`: a guest's OUTs handled by a loop as libnvmm's users write it, on the same
// mock device that the JavaScript loop drives. Prints nanoseconds of processor time per exit, one line a round:
// run_loop ROUNDS EXITS [system-call]
// With the last argument every run makes a real system call as well.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <future>
#include <thread>

#include "abi/netbsd_errno.h"
#include "abi/nvmm.h"
#include "mock/mock_device.h"
#include "raw/system_call_device.h"

using namespace nvmm;
using namespace nvmm::abi;

static void check(int error, const char* what) {
  if (error == 0) return;
  fprintf(stderr, "run_loop: %s: errno %d\n", what, error);
  exit(1);
}

// In nanoseconds: what other programs take of the processor does not count.
static double processorTime() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 5;
  const int exits = argc > 2 ? atoi(argv[2]) : 200000;

  // A second thread, as every program has that runs VCPUs beside something else, Node included: the C library and the
  // kernel take short cuts in a process without.
  std::promise<void> end;
  std::thread second([done = end.get_future()] { done.wait(); });

  std::shared_ptr<RawDevice> device = mock::makeMockDevice(mock::Options());
  if (argc > 3) device = std::make_shared<SystemCallDevice>(device);
  int fd;
  check(device->open(kDevicePath, Access::Owner, &fd), "open");
  nvmm_ioc_machine_create machine = {};
  check(device->ioctl(fd, NVMM_IOC_MACHINE_CREATE, &machine), "machine create");
  nvmm_ioc_vcpu_create vcpu = {machine.machid, 0};
  check(device->ioctl(fd, NVMM_IOC_VCPU_CREATE, &vcpu), "vcpu create");
  void* page;
  check(device->mapComm(fd, commOffset(machine.machid, 0), &page), "map comm");
  auto* comm = static_cast<nvmm_comm_page_v2*>(page);

  void* ram = mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  nvmm_ioc_hva_map hva = {machine.machid, reinterpret_cast<uintptr_t>(ram), kPageSize, 0};
  check(device->ioctl(fd, NVMM_IOC_HVA_MAP, &hva), "hva map");
  nvmm_ioc_gpa_map gpa = {machine.machid, hva.hva, 0x1000, kPageSize, 7};
  check(device->ioctl(fd, NVMM_IOC_GPA_MAP, &gpa), "gpa map");
  memcpy(ram, "\xe6\x10\xeb\xfc", 4);  // out 0x10, al; jmp back

  comm->state.segs[NVMM_X64_SEG_CS].selector = 0;
  comm->state.segs[NVMM_X64_SEG_CS].base = 0;
  comm->state.gprs[NVMM_X64_GPR_RIP] = 0x1000;
  comm->state_commit = NVMM_X64_STATE_SEGS | NVMM_X64_STATE_GPRS;

  unsigned sum = 0;
  const auto handlePort = [&](uint16_t port, uint64_t value) { sum += port + static_cast<uint8_t>(value); };
  for (int round = 0; round < rounds; round++) {
    const double begin = processorTime();
    for (int i = 0; i < exits;) {
      nvmm_ioc_vcpu_run run = {};
      run.machid = machine.machid;
      run.cpuid = 0;
      check(device->ioctl(fd, NVMM_IOC_VCPU_RUN, &run), "run");
      if (run.exit.reason == NVMM_VCPU_EXIT_NONE) continue;
      check(run.exit.reason == NVMM_VCPU_EXIT_IO ? 0 : netbsd::kINVAL, "an exit that is no port I/O");
      handlePort(run.exit.u.io.port, comm->state.gprs[NVMM_X64_GPR_RAX]);
      comm->state.gprs[NVMM_X64_GPR_RIP] = run.exit.u.io.npc;
      comm->state_commit |= NVMM_X64_STATE_GPRS;
      comm->state_cached |= NVMM_X64_STATE_GPRS;
      i++;
    }
    printf("%.2f\n", (processorTime() - begin) / exits);
  }
  check(device->close(fd), "close");
  end.set_value();
  second.join();
  return sum == 0;
}
