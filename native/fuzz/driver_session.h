// A program that drives a mock device as an input tells it to: several descriptors, a region of memory to map, comm
// pages. What the targets of the driver share.
#pragma once

#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <vector>

#include "abi/nvmm.h"
#include "input.h"
#include "mock/mock_device.h"

namespace nvmm::fuzz {

using namespace abi;

// Memory that a driver may map over or take out of the process: after a request that has done so, restore() puts plain
// memory there. A page before and behind it can't be touched.
class Region {
 public:
  static constexpr uint64_t kPages = 16, kSize = kPages * kPageSize;

  Region() {
    auto* all = static_cast<uint8_t*>(::mmap(nullptr, kSize + 2 * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0));
    if (all == MAP_FAILED) std::abort();
    begin_ = all + kPageSize;
    restore(begin(), kSize);
  }
  ~Region() { ::munmap(begin_ - kPageSize, kSize + 2 * kPageSize); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  uint64_t begin() const { return reinterpret_cast<uintptr_t>(begin_); }
  uint64_t end() const { return begin() + kSize; }
  uint8_t* bytes() { return begin_; }

  static void restore(uint64_t address, uint64_t size) {
    if (::mmap(reinterpret_cast<void*>(address), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_FIXED, -1,
               0) == MAP_FAILED) {
      std::abort();
    }
  }

 private:
  uint8_t* begin_;
};

// Addresses that no process has memory at.
inline void* wildPointer(Input& in) {
  switch (in.below(3)) {
    case 0: return nullptr;
    case 1: return reinterpret_cast<void*>(uint64_t{8});
    default: return reinterpret_cast<void*>(in.take<uint64_t>() | uint64_t{1} << 63);
  }
}

class Session {
 public:
  static constexpr unsigned kFiles = 3;

  explicit Session(Input& in) : in_(in) {
    const unsigned choice = in.take<uint8_t>();
    mock::Options options;
    options.vendor = choice & 1 ? cpu::Vendor::Intel : cpu::Vendor::Amd;
    options.kernelVersion = choice & 2 ? 1 : 2;
    options.maxMachines = choice & 4 ? 2 : 128;
    options.timeSlice = 500;  // no guest keeps the fuzzer
    device_ = mock::makeMockDevice(options);
    for (unsigned i = 0; i < kFiles; i++) open(i, i == 2 ? Access::Root : Access::Owner);
  }

  ~Session() {
    for (void* page : pages_) ::munmap(page, kPageSize);
    for (const int fd : files_) device_->close(fd);
  }

  mock::MockDevice& device() { return *device_; }
  Region& region() { return region_; }

  // One machine with one VCPU, memory at 0 and, of the same, at its reset vector; code there comes from the input.
  void prepare() {
    nvmm_ioc_machine_create machine = {};
    device_->ioctl(files_[0], NVMM_IOC_MACHINE_CREATE, &machine);
    nvmm_ioc_hva_map host = {machine.machid, region_.begin(), 8 * kPageSize, 0};
    device_->ioctl(files_[0], NVMM_IOC_HVA_MAP, &host);
    nvmm_ioc_gpa_map low = {machine.machid, host.hva, 0, host.size, 7};
    device_->ioctl(files_[0], NVMM_IOC_GPA_MAP, &low);
    nvmm_ioc_gpa_map high = {machine.machid, host.hva, 0xfffff000, kPageSize, 7};
    device_->ioctl(files_[0], NVMM_IOC_GPA_MAP, &high);
    nvmm_ioc_vcpu_create vcpu = {machine.machid, 0};
    device_->ioctl(files_[0], NVMM_IOC_VCPU_CREATE, &vcpu);
    mapComm(files_[0], commOffset(machine.machid, 0));
    in_.take(region_.bytes() + 0xff0, 16);
  }

  int firstFile() const { return files_[0]; }
  int file() { return files_[in_.below(kFiles)]; }
  // Mostly numbers that there may be.
  uint32_t machine() { return id(); }
  uint32_t vcpu() { return id(); }

  uint64_t gpa() {
    const unsigned choice = in_.take<uint8_t>();
    if (choice < 128) return choice % 32 * kPageSize;
    if (choice < 160) return 0xfffff000 - choice % 4 * kPageSize;
    if (choice < 192) return NVMM_MAX_RAM - choice % 4 * kPageSize;
    return in_.take<uint64_t>();
  }
  uint64_t size() {
    const unsigned choice = in_.take<uint8_t>();
    return choice < 200 ? choice % 20 * kPageSize : in_.take<uint64_t>();
  }
  // For requests that only look it up.
  uint64_t anyHva() {
    const unsigned choice = in_.take<uint8_t>();
    return choice < 224 ? region_.begin() + choice % (Region::kPages + 2) * kPageSize : in_.take<uint64_t>();
  }

  int request(int fd, uint32_t number, void* argument) { return device_->ioctl(fd, number, argument); }
  template <typename Argument>
  int request(uint32_t number, Argument argument) {
    return request(file(), number, &argument);
  }

  // Both only ever replace memory of the region, or are refused.
  void mapHva() {
    const unsigned choice = in_.take<uint8_t>();
    nvmm_ioc_hva_map argument = {machine(), region_.begin() + choice % Region::kPages * kPageSize, 0, 0};
    argument.size = (1 + in_.take<uint8_t>() % (Region::kPages - choice % Region::kPages)) * kPageSize;
    switch (choice / 16) {
      case 12: argument.hva += 1; break;
      case 13: argument.size = in_.take<uint64_t>() | uint64_t{1} << 48; break;
      case 14: argument.hva = in_.take<uint64_t>() | uint64_t{1} << 63; break;
      case 15: argument.hva = argument.size = 0; break;
      default: break;
    }
    request(file(), NVMM_IOC_HVA_MAP, &argument);
  }
  void unmapHva() {
    nvmm_ioc_hva_unmap argument = {machine(), anyHva(), (1 + uint64_t{in_.below(Region::kPages)}) * kPageSize, 0};
    if (request(file(), NVMM_IOC_HVA_UNMAP, &argument) == netbsd::kOK) Region::restore(argument.hva, argument.size);
  }

  void mapComm(int fd, uint64_t offset) {
    void* page;
    if (device_->mapComm(fd, offset, &page) == netbsd::kOK) addPage(page);
  }
  void addPage(void* page) {
    if (pages_.size() == 4) {
      ::munmap(pages_.front(), kPageSize);
      pages_.erase(pages_.begin());
    }
    pages_.push_back(page);
  }
  const std::vector<void*>& pages() const { return pages_; }

  // A word anywhere in a comm page, or pieces of the state to be taken over with the next run.
  void writeComm() {
    if (pages_.empty()) return;
    auto* page = static_cast<uint8_t*>(pages_[in_.below(static_cast<unsigned>(pages_.size()))]);
    const unsigned where = in_.take<uint8_t>();
    if (where < 160) {
      in_.take(page + 8 * where, 8);
    } else {
      auto* comm = reinterpret_cast<nvmm_comm_page_v2*>(page);
      comm->state_commit = where & NVMM_X64_STATE_ALL;
    }
  }
  void writeMemory() {
    const uint64_t offset = in_.take<uint16_t>() % (Region::kSize - 32);
    in_.take(region_.bytes() + offset, 1 + in_.below(32));
  }

  void reopen() {
    const unsigned i = in_.below(kFiles);
    device_->close(files_[i]);
    open(i, in_.flag() ? Access::Root : Access::Owner);
  }
  void resetDevice() {
    if (device_->reset() == netbsd::kOK) prepare();
  }
  // The number of a new descriptor is this session's to close.
  void replaceFile(int fd) {
    const unsigned i = in_.below(kFiles);
    device_->close(files_[i]);
    files_[i] = fd;
  }

 private:
  uint32_t id() {
    const unsigned choice = in_.take<uint8_t>();
    return choice < 240 ? choice % 4 / 2 * (choice % 2 + 1) : in_.take<uint32_t>();
  }
  void open(unsigned i, Access access) { device_->open(kDevicePath, access, &files_[i]); }

  Input& in_;
  std::shared_ptr<mock::MockDevice> device_;
  Region region_;
  std::array<int, kFiles> files_;
  std::vector<void*> pages_;
};

}  // namespace nvmm::fuzz
