// Many threads at one mock device: random requests with valid and wild arguments, runs, stops, kicks. Nothing is
// expected of the answers; the sanitizers and the end of the program are the test. Usage: driver_stress [SECONDS
// [SEED]]
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "abi/nvmm.h"
#include "mock/mock_device.h"

using namespace nvmm;
using namespace nvmm::abi;

namespace {

constexpr unsigned kThreads = 6;
constexpr uint32_t kMachines = 4;
constexpr uint32_t kVcpus = 3;
constexpr uint64_t kRegion = 16 * kPageSize;

// out 0x10, al; hlt; jmp to the start: then an endless loop, then bytes without a meaning
constexpr unsigned char kGuest[] = {0xe6, 0x10, 0xf4, 0xe4, 0x11, 0xeb, 0xf9, 0xeb, 0xfe, 0x0f, 0x0b, 0xf0, 0xff, 0xff};

std::atomic<bool> done{false};
std::atomic<uint64_t> requests{0}, successes{0};

// A machine with guest code at the reset vector for every id: workers destroy and replace them as they like.
void prepare(mock::MockDevice& device, int fd, uint8_t* region) {
  for (uint32_t i = 0; i < kMachines; i++) {
    nvmm_ioc_machine_create machine = {};
    if (device.ioctl(fd, NVMM_IOC_MACHINE_CREATE, &machine) != 0) return;
    uint8_t* ram = region + i * kPageSize;
    nvmm_ioc_hva_map hva = {machine.machid, reinterpret_cast<uintptr_t>(ram), kPageSize, 0};
    device.ioctl(fd, NVMM_IOC_HVA_MAP, &hva);
    memcpy(ram + 0xff0, kGuest, sizeof kGuest);
    nvmm_ioc_gpa_map gpa = {machine.machid, hva.hva, 0xfffff000, kPageSize, 7};
    device.ioctl(fd, NVMM_IOC_GPA_MAP, &gpa);
    for (uint32_t id = 0; id < kVcpus; id++) {
      nvmm_ioc_vcpu_create vcpu = {machine.machid, id};
      device.ioctl(fd, NVMM_IOC_VCPU_CREATE, &vcpu);
    }
  }
}

class Worker {
 public:
  Worker(std::shared_ptr<mock::MockDevice> device, unsigned seed) : device_(std::move(device)), random_(seed) {
    reserveRegion();
    reopen();
  }

  ~Worker() {
    for (void* page : pages_) munmap(page, kPageSize);
    device_->close(fd_);
    munmap(region_, kRegion);
  }

  void work() {
    while (!done.load(std::memory_order_relaxed)) step();
  }

 private:
  uint64_t below(uint64_t limit) { return random_() % limit; }
  bool oneIn(unsigned n) { return below(n) == 0; }

  // Mostly a number that fits, sometimes one that does not.
  uint32_t machine() { return oneIn(20) ? static_cast<uint32_t>(random_()) : static_cast<uint32_t>(below(kMachines)); }
  uint32_t vcpu() { return oneIn(20) ? static_cast<uint32_t>(random_()) : static_cast<uint32_t>(below(kVcpus)); }
  uint64_t gpa() {
    switch (below(8)) {
      case 0: return random_();
      case 1: return NVMM_MAX_RAM - below(4) * kPageSize;
      default: return below(32) * kPageSize;
    }
  }
  uint64_t size() { return oneIn(10) ? random_() : below(8) * kPageSize; }
  // Only ranges of this worker may be replaced by memory of the driver, so that none of another is pulled away.
  uint64_t hva() { return reinterpret_cast<uintptr_t>(region_) + below(kRegion / kPageSize) * kPageSize; }
  uint64_t sizeFrom(uint64_t hva) {
    const uint64_t left = reinterpret_cast<uintptr_t>(region_) + kRegion - hva;
    return (1 + below(left / kPageSize)) * kPageSize;
  }

  template <typename Argument>
  void request(uint32_t number, Argument argument) {
    requests.fetch_add(1, std::memory_order_relaxed);
    const int error = device_->ioctl(fd_, number, &argument);
    if (error == netbsd::kOK) successes.fetch_add(1, std::memory_order_relaxed);
    if (error == netbsd::kBADF) reopen();  // after a reset
  }

  void reserveRegion() {
    region_ = static_cast<uint8_t*>(mmap(nullptr, kRegion, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0));
  }

  void reopen() {
    if (fd_ >= 0) device_->close(fd_);
    // Half of the workers' files are the root owner's, so that machines are shared.
    device_->open(kDevicePath, oneIn(2) ? Access::Root : Access::Owner, &fd_);
  }

  void mapComm() {
    void* page;
    if (device_->mapComm(fd_, commOffset(machine(), vcpu()), &page) != 0) return;
    if (pages_.size() == 8) {
      munmap(pages_.front(), kPageSize);
      pages_.erase(pages_.begin());
    }
    pages_.push_back(page);
  }

  // The fields that a program may write at any time.
  void writeComm() {
    if (pages_.empty()) return;
    auto* comm = static_cast<nvmm_comm_page_v2*>(pages_[below(pages_.size())]);
    switch (below(3)) {
      case 0: __atomic_store_n(&comm->stop, 1, __ATOMIC_RELAXED); break;
      case 1: __atomic_store_n(&comm->state_commit, random_() & NVMM_X64_STATE_ALL, __ATOMIC_RELAXED); break;
      default: __atomic_store_n(&comm->state_wanted, random_(), __ATOMIC_RELAXED); break;
    }
  }

  void order() {
    mock::Fault fault;
    fault.kind = static_cast<mock::Fault::Kind>(below(4));
    fault.error = netbsd::kIO;
    fault.exit.reason = oneIn(3) ? random_() : below(3);
    device_->plan(oneIn(2) ? NVMM_IOC_VCPU_RUN & 0xff : static_cast<unsigned>(below(21)), 1 + below(100), fault);
  }

  // Most are refused, since somebody is always at work.
  void reset() {
    if (device_->reset() != netbsd::kOK) return;
    reopen();
    prepare(*device_, fd_, region_);
  }

  void step() {
    switch (below(21)) {
      case 0: return request(NVMM_IOC_MACHINE_CREATE, nvmm_ioc_machine_create{});
      case 1:
        if (oneIn(4)) request(NVMM_IOC_MACHINE_DESTROY, nvmm_ioc_machine_destroy{machine()});
        return;
      case 2: return request(NVMM_IOC_VCPU_CREATE, nvmm_ioc_vcpu_create{machine(), vcpu()});
      case 3:
        if (oneIn(4)) request(NVMM_IOC_VCPU_DESTROY, nvmm_ioc_vcpu_destroy{machine(), vcpu()});
        return;
      case 4: {
        nvmm_vcpu_conf_cpuid conf = {};
        conf.bits = static_cast<uint32_t>(below(4));
        conf.leaf = static_cast<uint32_t>(below(40));
        return request(NVMM_IOC_VCPU_CONFIGURE, nvmm_ioc_vcpu_configure{machine(), vcpu(), 200 + below(3), &conf});
      }
      case 5: return request(NVMM_IOC_VCPU_GETSTATE, nvmm_ioc_vcpu_getstate{machine(), vcpu()});
      case 6: return request(NVMM_IOC_VCPU_SETSTATE, nvmm_ioc_vcpu_setstate{machine(), vcpu()});
      case 7: return request(NVMM_IOC_VCPU_INJECT, nvmm_ioc_vcpu_inject{machine(), vcpu()});
      case 8: {
        const uint64_t at = hva();
        return request(NVMM_IOC_HVA_MAP, nvmm_ioc_hva_map{machine(), at, sizeFrom(at), 0});
      }
      case 9: {
        const uint64_t at = hva();
        const uint32_t id = machine();
        const uint64_t bytes = sizeFrom(at);
        nvmm_ioc_hva_unmap argument = {id, at, bytes, 0};
        requests.fetch_add(1, std::memory_order_relaxed);
        if (device_->ioctl(fd_, NVMM_IOC_HVA_UNMAP, &argument) != 0) return;
        // The range is gone from the process, and may be another thread's by now: go on elsewhere.
        const uint64_t begin = reinterpret_cast<uintptr_t>(region_), end = begin + kRegion;
        if (at > begin) munmap(region_, at - begin);
        if (at + bytes < end) munmap(reinterpret_cast<void*>(at + bytes), end - at - bytes);
        reserveRegion();
        return;
      }
      case 10:
      case 11:
        return request(NVMM_IOC_GPA_MAP, nvmm_ioc_gpa_map{machine(), hva(), gpa(), size(), static_cast<int>(below(9))});
      case 12: return request(NVMM_IOC_GPA_UNMAP, nvmm_ioc_gpa_unmap{machine(), gpa(), size()});
      case 13: {
        nvmm_ctl_mach_info info = {};
        info.machid = machine();
        return request(NVMM_IOC_CTL, nvmm_ioc_ctl{static_cast<int>(below(2)), &info, sizeof info});
      }
      case 14: return mapComm();
      case 15: return writeComm();
      case 16:
        if (oneIn(50)) reopen();
        return;
      case 17: return request(static_cast<uint32_t>(random_()) & ~(kIocParmMask << kIocParmShift), uint64_t{});
      case 18:
        if (oneIn(100)) device_->counters();
        if (oneIn(100)) reset();
        return order();
      default: return request(NVMM_IOC_VCPU_RUN, nvmm_ioc_vcpu_run{machine(), vcpu(), {}});
    }
  }

  const std::shared_ptr<mock::MockDevice> device_;
  std::mt19937_64 random_;
  uint8_t* region_;
  int fd_ = -1;
  std::vector<void*> pages_;
};

void stress(cpu::Vendor vendor, uint32_t kernelVersion, double seconds, unsigned seed) {
  done = false;
  mock::Options options;
  options.vendor = vendor;
  options.kernelVersion = kernelVersion;
  const auto device = mock::makeMockDevice(options);
  int fd;
  device->open(kDevicePath, Access::Root, &fd);
  void* region = mmap(nullptr, kMachines * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  prepare(*device, fd, static_cast<uint8_t*>(region));
  {
    std::atomic<unsigned> active{kThreads};
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; i++) {
      threads.emplace_back([&, i] {
        Worker(device, seed + i).work();
        active--;
      });
    }
    // Runs may be endless, and everything else wait behind them: kick all the time, as a host's timer would.
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (active > 0) {
      if (std::chrono::steady_clock::now() >= end) done = true;
      for (auto& thread : threads) device->kick(thread.native_handle());
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    for (auto& thread : threads) thread.join();
  }
  device->close(fd);
  munmap(region, kMachines * kPageSize);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? atof(argv[1]) : 4;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(atoi(argv[2])) : std::random_device()();
  printf("seed %u\n", seed);
  for (const auto vendor : {cpu::Vendor::Amd, cpu::Vendor::Intel}) {
    for (const uint32_t version : {kKernelVersion1, kKernelVersion2}) stress(vendor, version, seconds / 4, seed);
  }
  printf("%llu requests, %llu of them successful\n", static_cast<unsigned long long>(requests),
         static_cast<unsigned long long>(successes));
  return successes == 0;
}
