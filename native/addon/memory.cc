#include <sys/mman.h>

#include "objects.h"

namespace nvmm {

int Memory::allocate(std::shared_ptr<Machine> machine, size_t size, std::shared_ptr<Memory>* memory) {
  // Only reserves the range: the driver puts memory of its own there, which costs nothing until it is touched.
  void* base = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return netbsd::kNOMEM;
  abi::nvmm_ioc_hva_map argument = {machine->id(), reinterpret_cast<uintptr_t>(base), size, 0};
  const int error = machine->exclusively(abi::NVMM_IOC_HVA_MAP, &argument, [] {});
  if (error != 0) {
    munmap(base, size);
    return error;
  }
  memory->reset(new Memory(std::move(machine), static_cast<uint8_t*>(base), size));
  return netbsd::kOK;
}

int Memory::free(const std::function<void()>& prepare) {
  if (base_ == nullptr) return netbsd::kOK;
  abi::nvmm_ioc_hva_unmap argument = {machine_->id(), reinterpret_cast<uintptr_t>(base_), size_, 0};
  const int error = machine_->exclusively(abi::NVMM_IOC_HVA_UNMAP, &argument, prepare);
  // A machine that is gone has left the range to the process.
  if (error == netbsd::kNOENT || error == netbsd::kBADF)
    munmap(base_, size_);
  else if (error != 0)
    return error;
  base_ = nullptr;
  return netbsd::kOK;
}

Memory::~Memory() {
  if (free([] {}) == netbsd::kOK) return;
  std::lock_guard<std::mutex> guard(machine_->lock_);
  machine_->orphans_.emplace_back(base_, size_);
}

}  // namespace nvmm
