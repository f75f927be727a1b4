#pragma once

#include <array>
#include <cstdint>
#include <filesystem>

namespace fake_verbs {

enum class Counted { kContext, kPd, kMr, kCq, kChannel, kSrq, kQp, kAh, kPinnedBytes, kCount };

// What this process has open, as a table that others can read at any moment: objects.PID in the
// folder of the job. It outlives the process, so that what was never closed shows.
class Census {
  public:
    // Without a folder nobody is told.
    explicit Census(const std::filesystem::path& folder);
    ~Census();
    Census(const Census&) = delete;
    Census& operator=(const Census&) = delete;

    void add(Counted what, int64_t difference = 1);
    void remove(Counted what) { add(what, -1); }
    uint64_t of(Counted what) const { return static_cast<uint64_t>(counts_[index(what)]); }

  private:
    static constexpr size_t index(Counted what) { return static_cast<size_t>(what); }
    void write() const;

    int file_descriptor_;
    std::array<int64_t, static_cast<size_t>(Counted::kCount)> counts_{};
};

}  // namespace fake_verbs
