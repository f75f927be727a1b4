// Opening and closing of devices, and with them of the engine.

#include <pthread.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "api.h"
#include "engine.h"
#include "polling.h"
#include "ports.h"
#include "posting.h"

namespace fake_verbs {
namespace {

struct Process {
    std::mutex mutex;
    Engine* engine = nullptr;
};

Process& process() {
    static Process* const ever = new Process;  // outlives every thread
    return *ever;
}

// The helper thread does not live in a forked child, which starts anew.
void start_anew_after_fork() {
    new (&process()) Process;
}

// A program that ends without closing its devices leaves only what it says it has open. From here
// on nothing is written into its memory, which goes piece by piece.
void withdraw_at_exit() {
    if (process().engine != nullptr) process().engine->abandon();
}

Settings& current_settings() {
    static auto& settings = *new Settings;
    return settings;
}

void equip(Context& context) {
    verbs_context& verbs = context.verbs;
    verbs.sz = sizeof(verbs_context);
    verbs.query_port = query_port;
    verbs.query_device_ex = query_device_ex;
    verbs.create_qp_ex = create_qp_ex;
    verbs.create_cq_ex = create_cq_ex;
    verbs.context.device = &context.device->base;
    verbs.context.abi_compat = __VERBS_ABI_IS_EXTENDED;
    verbs.context.num_comp_vectors = 4;
    verbs.context.cmd_fd = -1;
    verbs.context.async_fd = context.async_events.descriptor();
    pthread_mutex_init(&verbs.context.mutex, nullptr);
    verbs.context.ops.poll_cq = poll_cq;
    verbs.context.ops.req_notify_cq = req_notify_cq;
    verbs.context.ops.post_send = post_send;
    verbs.context.ops.post_recv = post_recv;
    verbs.context.ops.post_srq_recv = post_srq_recv;
}

}  // namespace

Engine& engine() {
    return *process().engine;
}

const std::vector<Device*>& devices() {
    static const std::vector<Device*>* current = nullptr;
    const std::lock_guard lock(process().mutex);
    if (process().engine == nullptr || current == nullptr) {
        current_settings() = settings_from_environment();
        current = &make_devices(current_settings());
    }
    return *current;
}

bool enter(Context& context) {
    static const int registered =
        pthread_atfork(nullptr, nullptr, start_anew_after_fork) + std::atexit(withdraw_at_exit);
    const std::lock_guard lock(process().mutex);
    if (registered != 0) return false;
    if (process().engine == nullptr) {
        mkdir(current_settings().job.c_str(), 0700);
        auto fresh = std::make_unique<Engine>(current_settings());
        if (!fresh->usable()) return false;
        process().engine = fresh.release();
        process().engine->start();
    }
    const std::lock_guard engine_lock(engine().mutex);
    context.port = read_port(engine().settings(), *context.device);
    engine().add(context);
    engine().census().add(Counted::kContext);
    return true;
}

void leave(Context& context) {
    const std::lock_guard lock(process().mutex);
    {
        const std::lock_guard engine_lock(engine().mutex);
        engine().remove(context);
        engine().census().remove(Counted::kContext);
        if (!engine().deserted()) return;
    }
    delete process().engine;
    process().engine = nullptr;
}

}  // namespace fake_verbs

using namespace fake_verbs;

FAKE_VERBS_API ibv_device** ibv_get_device_list(int* count) {
    const std::vector<Device*>& found = devices();
    auto** list = static_cast<ibv_device**>(calloc(found.size() + 1, sizeof(ibv_device*)));
    if (list == nullptr) return nullptr;
    for (size_t i = 0; i < found.size(); i++)
        list[i] = &found[i]->base;
    if (count != nullptr) *count = static_cast<int>(found.size());
    return list;
}

FAKE_VERBS_API void ibv_free_device_list(ibv_device** list) {
    free(list);
}

FAKE_VERBS_API ibv_context* ibv_open_device(ibv_device* device) {
    auto context = std::make_unique<Context>();
    context->device = reinterpret_cast<Device*>(device);
    equip(*context);
    if (!enter(*context)) return failed<ibv_context>(EIO);
    return &context.release()->verbs.context;
}

FAKE_VERBS_API int ibv_close_device(ibv_context* context) {
    leave(Context::of(context));
    delete &Context::of(context);
    return 0;
}
