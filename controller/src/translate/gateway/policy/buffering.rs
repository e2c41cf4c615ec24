//! Buffering: `buffering` of a policy, understood.

use genkan_annotations::value;
use genkan_policies::BufferingSettings;
use genkan_routing::policy::buffering::{Buffering, MOST, Otherwise, RequestBuffering, ResponseBuffering};

use super::settings::{Broken, Value, at};

/// Reads `buffering`. Without any part nothing is held. What can't be held is refused, as the policy says how much it is to
/// be; nginx's annotations say that of memory alone.
pub(super) fn read_buffering(written: &BufferingSettings) -> Result<Value, Broken> {
    let request = written.request.as_ref().map(|request| max_size("request.maxSize", &request.max_size)).transpose()?;
    let response = written.response.as_ref().map(|it| max_size("response.maxSize", &it.max_size)).transpose()?;
    let buffering = Buffering {
        request: request.map(|max_size| RequestBuffering { max_size, otherwise: Otherwise::Refuse }),
        response: response.map(|max_size| ResponseBuffering { max_size }),
    };
    Ok(Value::Buffering(buffering.acts().then_some(buffering)))
}

fn max_size(part: &'static str, written: &str) -> Result<u64, Broken> {
    let size = at(part, value::size(written), value::quoted(written))?;
    if (1..=MOST).contains(&size) {
        return Ok(size);
    }
    Err((part, format!("{} must be at least 1 byte and at most {}m", value::quoted(written), MOST >> 20)))
}

#[cfg(test)]
mod tests {
    use genkan_policies::{RequestBufferingSettings, ResponseBufferingSettings};

    use super::*;

    #[test]
    fn each_part_is_read_alone_and_none_lifts_a_default() {
        let request = |size: &str| Some(RequestBufferingSettings { max_size: size.to_owned() });
        let response = |size: &str| Some(ResponseBufferingSettings { max_size: size.to_owned() });
        let read = |request, response| read_buffering(&BufferingSettings { request, response });
        assert_eq!(read(None, None), Ok(Value::Buffering(None)));
        let Ok(Value::Buffering(Some(both))) = read(request("8m"), response("512k")) else { panic!() };
        let held = RequestBuffering { max_size: 8 << 20, otherwise: Otherwise::Refuse };
        assert_eq!((both.request, both.response.unwrap().max_size), (Some(held), 512 << 10));
        assert_eq!(read(request("0"), None).unwrap_err().0, "request.maxSize");
        assert_eq!(read(request("65m"), None).unwrap_err().0, "request.maxSize");
        assert_eq!(read(request("1m"), response("odd")).unwrap_err().0, "response.maxSize");
        assert!(read(request("64m"), response("1")).is_ok());
    }
}
