// A thread that runs one VCPU for asynchronous callers: libuv's pool has four threads, a machine up to 256 VCPUs.
#pragma once

#include <node_api.h>

#include <condition_variable>
#include <memory>
#include <mutex>

#include "coalescer.h"
#include "mailbox.h"
#include "objects.h"
#include "thread.h"

namespace nvmm {

class Runner {
 public:
  // What `completed` gets while a run goes on and writes wait in its coalescer.
  static constexpr int kWritesWait = -1;

  // `completed` is called in this environment after each run, with 0 or the errno. Throws as Thread.
  Runner(napi_env env, std::shared_ptr<Vcpu> vcpu, napi_value completed);
  // Stops a run in progress and joins the thread.
  ~Runner();

  // Begins a run: EBUSY as Vcpu::run. The environment stays alive until it has completed.
  int start(std::shared_ptr<Coalescer> coalescer);

 private:
  // What the thread shares with us.
  struct Desk {
    const std::shared_ptr<Vcpu> vcpu;
    Mailbox mailbox;
    std::mutex lock;
    std::condition_variable wake;
    bool requested = false;
    bool quit = false;
    std::shared_ptr<Coalescer> coalescer;

    Desk(std::shared_ptr<Vcpu> vcpu, napi_env env, napi_value completed, Runner* runner)
        : vcpu(std::move(vcpu)), mailbox(env, completed, runner, deliver) {}
    void loop();
  };

  void shutDown();
  static void deliver(napi_env env, napi_value completed, void* runner, void* error);
  static void atExit(void* runner) { static_cast<Runner*>(runner)->shutDown(); }

  napi_env env_;
  const std::shared_ptr<Desk> desk_;
  bool active_ = false;  // from start() to deliver(), both in the environment's own thread
  bool ended_ = false;
  Thread thread_;
};

}  // namespace nvmm
