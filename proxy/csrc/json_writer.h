// Writes JSON into a string: objects and arrays that nest, numbers, booleans, text.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

namespace crossdock::proxy {

class JsonWriter {
  public:
    JsonWriter& key(std::string_view name) {
        comma();
        quote(name);
        text_ += ':';
        fresh_ = true;
        return *this;
    }
    JsonWriter& open(char bracket) {
        comma();
        text_ += bracket;
        fresh_ = true;
        return *this;
    }
    JsonWriter& close(char bracket) {
        text_ += bracket;
        fresh_ = false;
        return *this;
    }
    template <std::integral T>
    JsonWriter& value(T number) {
        comma();
        if constexpr (std::same_as<T, bool>) {
            text_ += number ? "true" : "false";
        } else {
            text_ += std::to_string(number);
        }
        return *this;
    }
    JsonWriter& value(std::string_view text) {
        comma();
        quote(text);
        return *this;
    }
    // Text that is JSON already.
    JsonWriter& raw(std::string_view json) {
        comma();
        text_ += json;
        return *this;
    }
    JsonWriter& null() { return raw("null"); }
    template <class T>
    JsonWriter& field(std::string_view name, const T& what) {
        return key(name).value(what);
    }

    const std::string& text() const { return text_; }

  private:
    void comma() {
        if (!fresh_) text_ += ',';
        fresh_ = false;
    }
    // Bytes that are not plain ASCII become '?': no text here needs them, and some may be torn.
    void quote(std::string_view text) {
        text_ += '"';
        for (const char c : text) {
            if (c == '"' || c == '\\') {
                text_ += '\\';
                text_ += c;
            } else {
                text_ += c >= 0x20 && c < 0x7f ? c : '?';
            }
        }
        text_ += '"';
    }

    std::string text_;
    bool fresh_ = true;
};

}  // namespace crossdock::proxy
