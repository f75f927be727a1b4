// Who decides which thread goes next and which store a load returns. Option 0 is the plain one:
// the same thread goes on, a load returns the newest store, a store becomes the newest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace crossdock::model {

enum class Choice { kThread, kStore };

class Chooser {
  public:
    Chooser() = default;
    Chooser(const Chooser&) = delete;
    Chooser& operator=(const Chooser&) = delete;
    virtual ~Chooser() = default;

    // A number below `options`, which is at least 2.
    virtual size_t choose(size_t options, Choice choice) = 0;
    // Names the schedule in a failure.
    virtual std::string name() const = 0;
    // The same schedule again, from its start.
    virtual void rewind() = 0;
};

// Each seed also decides how often it leaves the plain option: some bugs need many switches, others
// need a thread that sleeps long.
class RandomChooser final : public Chooser {
  public:
    explicit RandomChooser(uint64_t seed) : seed_(seed) { rewind(); }

    size_t choose(size_t options, Choice choice) override {
        const uint32_t chance = choice == Choice::kThread ? switch_chance_ : stale_chance_;
        if ((random_() & 0xff) >= chance) return 0;
        return 1 + random_() % (options - 1);
    }

    std::string name() const override { return "seed " + std::to_string(seed_); }

    void rewind() override {
        random_.seed(seed_ * 0x9e3779b97f4a7c15u + 1);
        switch_chance_ = pick({8, 32, 64, 128, 200});
        stale_chance_ = pick({0, 16, 64, 128});
    }

  private:
    uint32_t pick(const std::vector<uint32_t>& chances) {
        return chances[random_() % chances.size()];
    }

    uint64_t seed_;
    std::mt19937_64 random_;
    uint32_t switch_chance_ = 0;
    uint32_t stale_chance_ = 0;
};

// Every schedule that leaves the plain option at most `bound` times, one after the other.
class BoundedChooser final : public Chooser {
  public:
    explicit BoundedChooser(size_t bound) : bound_(bound) {}

    size_t choose(size_t options, Choice) override {
        if (position_ == path_.size()) path_.push_back({options, 0});
        return path_[position_++].taken;
    }

    std::string name() const override {
        std::string text = "choices";
        for (size_t i = 0; i < path_.size(); ++i) {
            if (path_[i].taken == 0) continue;
            text += " " + std::to_string(i) + ":" + std::to_string(path_[i].taken);
        }
        return text;
    }

    void rewind() override { position_ = 0; }

    // Moves on to the next schedule; false when all have been tried.
    bool advance() {
        rewind();
        while (!path_.empty()) {
            Step& last = path_.back();
            const bool may_leave = last.taken > 0 || left() < bound_;
            if (may_leave && last.taken + 1 < last.options) {
                ++last.taken;
                return true;
            }
            path_.pop_back();
        }
        return false;
    }

  private:
    struct Step {
        size_t options;
        size_t taken;
    };

    size_t left() const {
        size_t count = 0;
        for (const Step& step : path_)
            count += step.taken != 0;
        return count;
    }

    size_t bound_;
    size_t position_ = 0;
    std::vector<Step> path_;
};

}  // namespace crossdock::model
