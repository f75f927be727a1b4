#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "ep/csrc/kernels/kernels.h"

// What the kernel tests share: the instruction sets, plain conversions, inputs.
namespace crossdock::ep {

inline constexpr const char* kIsas[] = {"generic", "avx2", "avx512"};

class KernelTest : public testing::TestWithParam<const char*> {
  protected:
    void SetUp() override {
        if (kernels_for(GetParam()) == nullptr) GTEST_SKIP() << "no " << GetParam() << " here";
    }
    const Kernels& kernels() const { return *kernels_for(GetParam()); }
};

inline std::string isa_name(const testing::TestParamInfo<const char*>& info) {
    return info.param;
}

inline float to_float(uint16_t bf16) {
    return std::bit_cast<float>(static_cast<uint32_t>(bf16) << 16);
}

// By comparing distances, on purpose not by the kernels' way.
inline uint16_t to_bf16(float value) {
    if (std::isnan(value)) return 0x7fc0;
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t below = bits >> 16, rest = bits & 0xffff;
    const bool up = rest > 0x8000 || (rest == 0x8000 && below % 2 == 1);
    return static_cast<uint16_t>(below + (up ? 1 : 0));
}

using Rows = std::vector<std::vector<uint16_t>>;

inline std::vector<const uint16_t*> pointers(const Rows& rows) {
    std::vector<const uint16_t*> result;
    for (const auto& row : rows)
        result.push_back(row.data());
    return result;
}

inline std::vector<uint16_t> all_bf16() {
    std::vector<uint16_t> values(1 << 16);
    for (size_t i = 0; i < values.size(); ++i)
        values[i] = static_cast<uint16_t>(i);
    return values;
}

enum class Values {
    kActivations,  // normal with deviation 1, one in 16 is 0
    kWide,         // signs and mantissas at random, over 40 octaves around 1
    kAnyBits,
};

class Random {
  public:
    explicit Random(uint32_t seed) : engine_(seed) {}

    uint16_t value(Values values) {
        const uint32_t bits = engine_();
        if (values == Values::kAnyBits) return static_cast<uint16_t>(bits);
        if (values == Values::kWide) {
            const uint32_t exponent = 107 + (bits >> 8) % 40;
            return static_cast<uint16_t>((bits & 0x807f) | exponent << 7);
        }
        return bits % 16 == 0 ? uint16_t{0} : to_bf16(normal_(engine_));
    }

    std::vector<uint16_t> row(size_t n, Values values) {
        std::vector<uint16_t> row(n);
        for (uint16_t& x : row)
            x = value(values);
        return row;
    }

    Rows rows(size_t count, size_t n, Values values) {
        Rows rows;
        for (size_t i = 0; i < count; ++i)
            rows.push_back(row(n, values));
        return rows;
    }

    std::vector<float> weights(size_t count) {
        std::vector<float> weights(count);
        for (float& weight : weights)
            weight = normal_(engine_);
        return weights;
    }

    std::vector<std::byte> bytes(size_t count) {
        std::vector<std::byte> bytes(count);
        for (std::byte& byte : bytes)
            byte = static_cast<std::byte>(engine_());
        return bytes;
    }

  private:
    std::mt19937 engine_;
    std::normal_distribution<float> normal_;
};

}  // namespace crossdock::ep
